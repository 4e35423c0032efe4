"""Deciding one image in stages, each tighter and slower than the one before: intervals, planes, HiGHS."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.attacks.budget import Budget
from model.attacks.movable import images_of
from model.verification.certifier import CERTAIN_MARGIN, Certifier
from model.verification.interval_bounds import Interval
from model.verification.lagrangian import LagrangianMarginProblem
from model.verification.linear_bounds import LinearBounds
from model.verification.milp import find_margin_below

Stage = Literal["interval", "linear", "milp"]

# What HiGHS is asked to exclude.
_ASKED = 2 * CERTAIN_MARGIN


@dataclass(frozen=True)
class Decision:
    """What was found out about one image and its ball.

    Attributes:
        certified: Whether no image in the ball is classified wrongly. False means: not proved.
        stage: The last stage that was tried.
        margin_lower_bound: No image in the ball has a smaller margin.
        suspect: An image of the ball, (1, 1, 28, 28) float64, that HiGHS takes for a counterexample; it
            has yet to be rounded and checked.
    """

    certified: bool
    stage: Stage
    margin_lower_bound: float
    suspect: Tensor | None = None


@torch.no_grad()
def decide(
    certifier: Certifier, image: Tensor, true: int, epsilon: float, last: Stage, budget: Budget | None = None
) -> Decision:
    """Tries to certify one image, stage by stage.

    A stage looks only at those poses of wrong classes that the stages before left open, the worst first,
    and ends with the first that it leaves open too.

    Args:
        certifier: Of the network.
        image: (1, 1, 28, 28) in [0, 1].
        true: Its class index.
        epsilon: Radius of the L-inf ball.
        last: The last stage to try.
        budget: When to give up.
    """
    budget = budget or Budget()
    box = Interval(*(bound.flatten() for bound in certifier.two_step_box(image, epsilon)))
    linear = LinearBounds.over(box, certifier.kernels, (image.shape[2], image.shape[3]))
    problems = LagrangianMarginProblem.against_every_pose(linear, certifier.templates, certifier.rows, true)
    problems.sort(key=LagrangianMarginProblem.interval_bound)
    bounds = [problem.interval_bound() for problem in problems]
    stage: Stage = "interval"
    suspect: Tensor | None = None
    for index, problem in enumerate(problems):
        if bounds[index] <= CERTAIN_MARGIN and last != "interval":
            stage = "linear" if stage == "interval" else stage
            bounds[index] = problem.lagrangian_bound(CERTAIN_MARGIN, budget)
        if bounds[index] <= CERTAIN_MARGIN and last == "milp":
            stage = "milp"
            solution = find_margin_below(problem, _ASKED, budget.deadline)
            bounds[index] = _ASKED if solution.status == "infeasible" else bounds[index]
            suspect = solution.pixels
        if bounds[index] <= CERTAIN_MARGIN:
            break
    found = None if suspect is None else _image_of(suspect, image, epsilon, certifier)
    return Decision(min(bounds) > CERTAIN_MARGIN, stage, min(bounds), found)


def _image_of(pixels: Tensor, image: Tensor, epsilon: float, certifier: Certifier) -> Tensor:
    """Returns an image of the ball whose two-step map is `pixels` (784,), but for rounding."""
    low, high = (image.double() - epsilon).clamp(0, 1), (image.double() + epsilon).clamp(0, 1)
    return images_of(pixels.view_as(image), certifier.terms, low, high)
