"""What the learning rate does while a network trains, as plain data in a recipe."""

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any

from model.plugins import Registry, registry_of_classes


@dataclass(frozen=True)
class Schedule(ABC):
    """The share of a recipe's learning rate that a step takes."""

    @abstractmethod
    def factor(self, epochs_done: float, epochs: float) -> float:
        """Returns the share in 0..1 for the step at `epochs_done` (with a fraction) of `epochs`."""

    def shortened(self, epochs: int, before: int) -> "Schedule":
        """Returns the schedule for `epochs` instead of the `before` that it was written for."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Returns the schedule as plain JSON values, with its name as `kind`."""
        return {"kind": type(self).__name__, **asdict(self)}


SCHEDULES: Registry[type[Schedule]] = registry_of_classes("schedule", Schedule)


@SCHEDULES.add_own
@dataclass(frozen=True)
class LinearDecay(Schedule):
    """Constant, then linearly to 0 over the last epochs (docs/decisions/0002).

    Attributes:
        decay_epochs: How many last epochs.
    """

    decay_epochs: int

    def factor(self, epochs_done: float, epochs: float) -> float:
        return min(1.0, (epochs - epochs_done) / self.decay_epochs)

    def shortened(self, epochs: int, before: int) -> "LinearDecay":
        return LinearDecay(max(1, round(self.decay_epochs * epochs / before)))


@SCHEDULES.add_own
@dataclass(frozen=True)
class OneCycle(Schedule):
    """Linearly up from `start`, then down to 0 along a half cosine (after Smith & Topin 2018).

    Attributes:
        warm_up: Share of the training that goes up.
        start: Share of the learning rate that the first step takes.
    """

    warm_up: float = 0.3
    start: float = 0.04

    def factor(self, epochs_done: float, epochs: float) -> float:
        done = epochs_done / epochs
        if done < self.warm_up:
            return self.start + (1 - self.start) * done / self.warm_up
        return 0.5 * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up)))


@SCHEDULES.add_own
@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Half cosines down to 0, each longer than the one before it (after Loshchilov & Hutter 2017).

    Each begins with a short climb. The end of any of them is a finished training.

    Attributes:
        first: Epochs of the first one.
        growth: How many times longer each next one is.
        decay: Share of its largest rate that the next one reaches.
        warm_up: Share of each that climbs.
    """

    first: int
    growth: float = 2.0
    decay: float = 0.6
    warm_up: float = 0.1

    def factor(self, epochs_done: float, epochs: float) -> float:
        start, length, peak = 0.0, float(self.first), 1.0
        while epochs_done >= start + length:
            start, length, peak = start + length, length * self.growth, peak * self.decay
        return peak * OneCycle(self.warm_up, start=0.02).factor(epochs_done - start, length)

    def shortened(self, epochs: int, before: int) -> "CosineRestarts":
        return replace(self, first=max(1, round(self.first * epochs / before)))
