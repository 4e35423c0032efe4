"""What can be said about attacks on an image: that none succeeds, that one does, or neither."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.attacks.budget import ADVERSARIAL_MARGIN, Budget, margins
from model.attacks.settings import AttackName, AttackSettings
from model.attacks.single import attack_image
from model.frozen import FrozenNetwork
from model.verification import CERTAIN_MARGIN, Certifier

Verdict = Literal["certified", "falsified", "unknown"]

# Attack, steps and restarts that look for a counterexample where the bound leaves an image open, in order.
SEARCH: tuple[tuple[AttackName, int, int], ...] = (("apgd", 50, 1), ("pgd", 40, 3))

_NO_LIMITS = Budget()


@dataclass(frozen=True)
class Assessment:
    """What is known about one image within an L-inf ball of radius epsilon.

    Attributes:
        verdict: "certified": no image in the ball is classified otherwise. "falsified":
            `counterexample` is. "unknown": neither was shown.
        margin_lower_bound: No image in the ball has a smaller margin of the true class.
        certified_radius: The largest radius that the bound certifies, 0 if there is none; never below
            epsilon where the verdict is "certified". None if it was not asked for, or time was up.
        counterexample: (1, 1, 28, 28), inside ball and box, another class leads by ADVERSARIAL_MARGIN.
    """

    verdict: Verdict
    margin_lower_bound: float
    certified_radius: float | None
    counterexample: Tensor | None


def assess(
    network: FrozenNetwork,
    certifier: Certifier,
    images: Tensor,
    classes: Tensor,
    epsilon: float,
    radius: bool = True,
    search: bool = True,
    budget: Budget = _NO_LIMITS,
) -> list[Assessment]:
    """Bounds the margins of all images at once, and attacks those that the bound leaves open.

    Args:
        network: The network.
        certifier: Its bounds.
        images: (N, 1, 28, 28) in [0, 1].
        classes: (N,) the true class indices.
        epsilon: Radius of the L-inf ball.
        radius: Whether to look for the certified radius, by bisection: nine bounds more.
        search: Whether to look for counterexamples; without it only images that are classified wrongly
            as they are can be falsified.
        budget: Of all images together. Every image gets its bound; when the limit is reached, radii that
            are still to be found, and then searches, are left out.
    """
    bounds = certifier.margin_lower_bound(images, classes, epsilon).tolist()
    each = list(zip(images[:, None], classes[:, None], bounds, strict=True))
    radii = [
        _radius(certifier, image, true, epsilon, bound) if radius and not budget.out_of_time() else None
        for image, true, bound in each
    ]
    found = []
    for (image, true, bound), largest in zip(each, radii, strict=True):
        counterexample = None
        if bound <= CERTAIN_MARGIN:
            counterexample = _counterexample(network, image, int(true), epsilon if search else 0.0, budget)
        found.append(Assessment(_verdict(bound, counterexample), bound, largest, counterexample))
    return found


def _radius(certifier: Certifier, image: Tensor, true: Tensor, epsilon: float, bound: float) -> float:
    """Returns the certified radius; bisection ends up to a step below it, which must not deny the verdict."""
    radius = float(certifier.certified_radius(image, true))
    return max(radius, epsilon) if bound > CERTAIN_MARGIN else radius


def _verdict(bound: float, counterexample: Tensor | None) -> Verdict:
    if bound > CERTAIN_MARGIN:
        return "certified"
    return "unknown" if counterexample is None else "falsified"


def _counterexample(
    network: FrozenNetwork, image: Tensor, true_class: int, epsilon: float, budget: Budget
) -> Tensor | None:
    with torch.no_grad():
        if float(margins(network(image), true_class)[0]) <= -ADVERSARIAL_MARGIN:
            return image
    if epsilon == 0 or budget.out_of_time():
        return None
    for attack, steps, restarts in SEARCH:
        settings = AttackSettings(attack, "linf", epsilon, steps, restarts)
        result = attack_image(network, image, true_class, settings, budget)
        if result.success:
            return result.image
    return None
