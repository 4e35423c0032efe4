"""Attacking one image within a budget; the result always lies inside the ball and the box [0, 1]."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.attacks import registry
from model.attacks.ball import Ball, Distance, distance
from model.attacks.budget import AttackStopped, Budget, BudgetedModel, OnProgress, StoppedBy, ignore_progress
from model.attacks.catalogue import ATTACKS
from model.attacks.registry import Target
from model.attacks.settings import AttackSettings
from model.frozen import FrozenNetwork


@dataclass(frozen=True)
class AttackResult:
    """The result of an attack on one image.

    Attributes:
        success: Whether `image` is classified as something else than the true class.
        image: (1, 1, H, W), the best attempt inside the ball; the original if there was none.
        distance: How far it is from the original.
        queries: Images that went through the model, those of gradients included.
        stopped_by: Why the attack ended.
    """

    success: bool
    image: Tensor
    distance: Distance
    queries: int
    stopped_by: StoppedBy


def attack_image(
    network: FrozenNetwork,
    image: Tensor,
    true_class: int,
    settings: AttackSettings,
    budget: Budget,
    on_progress: OnProgress = ignore_progress,
) -> AttackResult:
    """Attacks one image (1, 1, H, W) until it succeeds, has run all its steps, or the budget is spent.

    Minimum-norm attacks go on after the first success and return the nearest adversarial image.
    """
    ball = Ball(image, settings.epsilon, settings.norm)
    closest = ATTACKS[settings.attack].minimum_norm
    model = BudgetedModel(network, ball, true_class, budget, closest, on_progress)
    reason: StoppedBy = "success"
    if not model.best.adversarial:
        target = Target(
            model,
            image,
            torch.tensor([true_class]),
            lambda _images, _classes: shape_of_another_class(network, true_class),
            white_box=network,
        )
        reason = _run(target, settings)
    best = model.best
    return AttackResult(
        success=best.adversarial,
        image=best.image,
        distance=distance(image, best.image),
        queries=model.queries,
        stopped_by=reason,
    )


def _run(target: Target, settings: AttackSettings) -> StoppedBy:
    try:
        target.model(registry.run(target, settings))  # an attack need not evaluate its own result
    except AttackStopped as stopped:
        return stopped.reason
    return "finished"


@torch.no_grad()
def shape_of_another_class(network: FrozenNetwork, true_class: int) -> Tensor | None:
    """Returns an image (1, 1, H, W) that the network classifies as another class, or None.

    The candidates are the shapes of the other classes, each in each pose, drawn as images.
    """
    classes = network.rows.shape[0]
    drawn = network.templates.unflatten(0, (classes, -1)).flatten(1, 2)  # (C, shapes * poses, H, W)
    others = torch.cat([drawn[c] for c in range(classes) if c != true_class])[:, None]
    images = (others / others.amax(dim=(1, 2, 3), keepdim=True)).clamp(0, 1)
    wrong: Tensor = network(images).argmax(dim=1) != true_class
    return images[wrong][:1] if wrong.any() else None
