"""The budget of an attack (queries, deadline, cancellation), and a model wrapper that enforces it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from model.attacks.ball import Ball

StoppedBy = Literal["success", "finished", "query_budget", "deadline", "cancelled"]

# An image counts as adversarial when another class leads by this much, so that no other runtime's
# rounding of the logits (1e-5) can turn the answer back.
ADVERSARIAL_MARGIN = 1e-4


OnProgress = Callable[[int, float], None]
"""Called after each batch with the number of queries so far and the smallest margin found."""


def ignore_progress(_queries: int, _margin: float) -> None:
    """Does nothing; the default `OnProgress`."""


class AttackStopped(Exception):  # noqa: N818 (not an error)
    """Raised inside a forward pass to end an attack."""

    def __init__(self, reason: StoppedBy) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Budget:
    """How much an attack or a verification may spend.

    Attributes:
        queries: Images that may be sent through the model.
        deadline: A `time.monotonic()` value.
        cancelled: Tells whether the caller no longer waits for the answer.
    """

    queries: int | None = None
    deadline: float = math.inf
    cancelled: Callable[[], bool] = lambda: False

    def out_of_time(self) -> bool:
        """Tells whether the deadline has passed or the caller has cancelled."""
        return time.monotonic() > self.deadline or self.cancelled()

    def at_most(self, seconds: float) -> "Budget":
        """Returns the same budget with a deadline no later than `seconds` from now."""
        return replace(self, deadline=min(self.deadline, time.monotonic() + seconds))


@dataclass(frozen=True)
class Candidate:
    """An image inside the ball, (1, 1, H, W), its margin, and its distance from the centre."""

    image: Tensor
    margin: float
    radius: float

    @property
    def adversarial(self) -> bool:
        """Whether another class leads by ADVERSARIAL_MARGIN."""
        return self.margin <= -ADVERSARIAL_MARGIN


class BudgetedModel(nn.Module):
    """Wraps a model for the attack on one image.

    Counts every query, ends the attack by raising `AttackStopped` in `forward` before a batch would exceed
    the budget, and keeps the best candidate seen inside the ball: an adversarial one if there was any
    (with `closest`, the nearest to the centre), else the one with the smallest margin.
    """

    def __init__(
        self,
        network: nn.Module,
        ball: Ball,
        true_class: int,
        budget: Budget,
        closest: bool,
        on_progress: OnProgress = ignore_progress,
    ) -> None:
        super().__init__()
        self.network, self.ball, self.true_class = network, ball, true_class
        self.budget, self.closest, self.on_progress = budget, closest, on_progress
        self.queries = 0
        self.best = self.measure(ball.image)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, 1, H, W) to logits.

        Raises:
            AttackStopped: The budget is spent or, unless `closest`, an adversarial image is found.
        """
        self._check_budget(len(images))
        logits: Tensor = self.network(images)
        self.queries += len(images)
        self._remember(images.detach(), logits.detach())
        self.on_progress(self.queries, self.best.margin)
        if self.best.adversarial and not self.closest:
            raise AttackStopped("success")
        return logits

    @torch.no_grad()
    def measure(self, image: Tensor) -> Candidate:
        """Projects one image (1, 1, H, W) into the ball and evaluates it: one query."""
        inside = self.ball.project(image)
        self.queries += 1
        margin = float(margins(self.network(inside), self.true_class)[0])
        return Candidate(inside, margin, self.ball.radius_of(inside))

    def _check_budget(self, rows: int) -> None:
        # One more query may be needed, to evaluate the batch's best image again after its projection.
        allowed = self.budget.queries
        if allowed is not None and self.queries + rows + 1 > allowed:
            raise AttackStopped("query_budget")
        if time.monotonic() > self.budget.deadline:
            raise AttackStopped("deadline")
        if self.budget.cancelled():
            raise AttackStopped("cancelled")

    def _remember(self, images: Tensor, logits: Tensor) -> None:
        """Keeps the best image of a batch if it beats the best so far."""
        candidates = [
            Candidate(image[None], margin, self.ball.radius_of(image[None]))
            for image, margin in zip(images, margins(logits, self.true_class).tolist(), strict=True)
            if self.ball.nearly_contains(image[None])
        ]
        best = self.best
        for candidate in candidates:
            best = candidate if self._better(candidate, best) else best
        if best is not self.best:
            # Rounding may have put it just outside; projected, its margin may be a little larger.
            inside = self.measure(best.image)
            self.best = inside if self._better(inside, self.best) else self.best

    def _better(self, one: Candidate, other: Candidate) -> bool:
        if one.adversarial and other.adversarial and self.closest:
            return one.radius < other.radius
        return one.margin < other.margin


def margins(logits: Tensor, classes: Tensor | int) -> Tensor:
    """Returns each row's logit of its true class minus the largest other: (N,).

    Args:
        logits: (N, classes).
        classes: (N,) the true class indices, or one for all rows.
    """
    own = torch.as_tensor(classes).expand(len(logits))[:, None]  # (N, 1)
    return logits.gather(1, own)[:, 0] - logits.scatter(1, own, -math.inf).amax(dim=1)
