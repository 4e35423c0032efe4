"""Deciding one image in stages, each tighter and slower than the one before: intervals, planes, HiGHS."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.attacks.metered import Limits
from model.bounds import Interval
from model.certify.certifier import CERTAIN_MARGIN, Certifier
from model.certify.dual import Opposition
from model.certify.exact import find_margin_below
from model.certify.planes import Planes
from model.two_step import TwoStepTerms, two_step

Stage = Literal["interval", "linear", "exact"]
STAGES: tuple[Stage, ...] = ("interval", "linear", "exact")

_BISECTIONS = 40
# What the exact stage excludes: margins up to the least that certifies, with ten times as much to spare.
_EXCLUDED = 2 * CERTAIN_MARGIN


@dataclass(frozen=True)
class Decision:
    """What is known about one image and its ball.

    Attributes:
        certified: Whether no image in the ball is classified wrongly. False means only: not proved.
        stage: The last stage that was needed, or tried.
        margin_lower_bound: No image in the ball has a smaller margin; what the exact stage excludes
            counts as the least that certifies.
        suspect: An image of the ball, (1, 1, 28, 28), that HiGHS takes for a counterexample. To be
            checked: it has yet to be rounded into the ball.
    """

    certified: bool
    stage: Stage
    margin_lower_bound: float
    suspect: Tensor | None = None


@torch.no_grad()
def decide(
    certifier: Certifier, image: Tensor, true: int, epsilon: float, last: Stage, limits: Limits | None = None
) -> Decision:
    """Tries to certify one image (1, 1, 28, 28) of class `true`, stage by stage up to `last`.

    A stage is tried against those poses of wrong classes only that the stages before left open, and the
    first that it leaves open ends it.

    Args:
        certifier: Of the network.
        image: (1, 1, 28, 28) in [0, 1].
        true: The true class index.
        epsilon: Radius of the L-inf ball.
        last: The last stage to try.
        limits: When to give up; a deadline is wanted for the exact stage.
    """
    limits = limits or Limits()
    box = certifier.two_step_box(image, epsilon)
    planes = Planes.over(Interval(*(bound.flatten() for bound in box)), certifier.kernels)
    oppositions = Opposition.all_against(planes, certifier.templates, certifier.rows, true)
    bounds = [opposition.interval_bound() for opposition in oppositions]
    order = sorted(range(len(bounds)), key=lambda index: bounds[index])
    reached: Stage = "interval"
    suspect = None
    for index in (i for i in order if bounds[i] <= CERTAIN_MARGIN):
        for stage in STAGES[1 : STAGES.index(last) + 1]:
            bounds[index], suspect = _bound(oppositions[index], bounds[index], stage, limits)
            reached = max(reached, stage, key=STAGES.index)
            if bounds[index] > CERTAIN_MARGIN:
                break
        else:
            break
    certified = min(bounds) > CERTAIN_MARGIN
    found = None if suspect is None else _image_at(suspect, image, epsilon, certifier.terms)
    return Decision(certified, reached, min(bounds), found)


def _bound(opposition: Opposition, bound: float, stage: Stage, limits: Limits) -> tuple[float, Tensor | None]:
    """Returns the stage's bound, and a suspect's two-step values (784,) if it found one."""
    if stage == "linear":
        return max(bound, opposition.linear_bound(CERTAIN_MARGIN, limits)), None
    answer = find_margin_below(opposition, CERTAIN_MARGIN, limits.deadline)
    return (_EXCLUDED if answer.kind == "none" else bound), answer.pixels


def _image_at(pixels: Tensor, image: Tensor, epsilon: float, terms: TwoStepTerms) -> Tensor:
    """Returns the image (1, 1, 28, 28) of the ball whose two-step map is `pixels` (784,), by bisection."""
    wanted = pixels.view_as(image)
    lower, upper = (image.double() - epsilon).clamp(min=0), (image.double() + epsilon).clamp(max=1)
    for _ in range(_BISECTIONS):
        middle = (lower + upper) / 2
        below = two_step(middle, terms) < wanted
        lower, upper = torch.where(below, middle, lower), torch.where(below, upper, middle)
    return ((lower + upper) / 2).to(image.dtype)
