"""A model that counts what it is asked, and can refuse to go on."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from model.attacks.ball import Ball

StoppedBy = Literal["success", "finished", "query_budget", "deadline", "cancelled"]

# An image counts as adversarial when another class leads by this much, so that no other runtime's
# rounding of the logits (1e-5) can turn the answer back.
ADVERSARIAL_MARGIN = 1e-4


OnProgress = Callable[[int, float], None]
"""Told, after each batch, the queries so far and the best margin."""


def ignore_progress(_queries: int, _margin: float) -> None:
    """Does nothing; the default `OnProgress`."""


class Stopped(Exception):  # noqa: N818 (not an error)
    """Raised inside a forward pass to end an attack; not an error."""

    def __init__(self, reason: StoppedBy) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """When an attack has to end.

    Attributes:
        query_budget: Rows that may go through the model.
        deadline: A `time.monotonic()` value.
        cancelled: Tells whether nobody waits for the answer any more.
    """

    query_budget: int | None = None
    deadline: float = math.inf
    cancelled: Callable[[], bool] = lambda: False

    def over(self) -> bool:
        """Tells whether time is up or nobody waits."""
        return time.monotonic() > self.deadline or self.cancelled()


@dataclass(frozen=True)
class Candidate:
    """An image inside the ball, (1, 1, 28, 28), with the true class's lead over the best other."""

    image: Tensor
    margin: float
    radius: float

    @property
    def adversarial(self) -> bool:
        """Whether another class leads clearly."""
        return self.margin <= -ADVERSARIAL_MARGIN


class MeteredModel(nn.Module):
    """Wraps a model during the attack on one image.

    Counts every row, ends the attack within one batch of its limits by raising `Stopped` in `forward`,
    and keeps the best candidate inside the ball that it ever saw: an adversarial one if there was any
    (for `closest`, the nearest to the centre), else the one with the smallest margin.
    """

    def __init__(
        self,
        network: nn.Module,
        ball: Ball,
        true_class: int,
        limits: Limits,
        closest: bool,
        on_progress: OnProgress = ignore_progress,
    ) -> None:
        super().__init__()
        self.network, self.ball, self.true_class = network, ball, true_class
        self.limits, self.closest, self.on_progress = limits, closest, on_progress
        self.queries = 0
        self.best = self.measure(ball.image)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, 1, 28, 28) to logits.

        Raises:
            Stopped: A limit is reached or, unless `closest`, an adversarial image is found.
        """
        self._check_limits(len(images))
        logits: Tensor = self.network(images)
        self.queries += len(images)
        self._remember(images.detach(), logits.detach())
        self.on_progress(self.queries, self.best.margin)
        if self.best.adversarial and not self.closest:
            raise Stopped("success")
        return logits

    @torch.no_grad()
    def measure(self, image: Tensor) -> Candidate:
        """Brings one image (1, 1, 28, 28) into the ball and asks the network about it: one query."""
        inside = self.ball.project(image)
        self.queries += 1
        margin = float(margins(self.network(inside), self.true_class)[0])
        return Candidate(inside, margin, self.ball.radius_of(inside))

    def _check_limits(self, rows: int) -> None:
        # One more row may be needed, to ask again about the batch's best image inside the ball.
        budget = self.limits.query_budget
        if budget is not None and self.queries + rows + 1 > budget:
            raise Stopped("query_budget")
        if time.monotonic() > self.limits.deadline:
            raise Stopped("deadline")
        if self.limits.cancelled():
            raise Stopped("cancelled")

    def _remember(self, images: Tensor, logits: Tensor) -> None:
        """Keeps the best row of a batch if it beats the best so far."""
        candidates = [
            Candidate(image[None], margin, self.ball.radius_of(image[None]))
            for image, margin in zip(images, margins(logits, self.true_class).tolist(), strict=True)
            if self.ball.nearly_contains(image[None])
        ]
        best = self.best
        for candidate in candidates:
            best = candidate if self._better(candidate, best) else best
        if best is not self.best:
            # Rounding may have put it just outside: inside, it may be worth a little less.
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
