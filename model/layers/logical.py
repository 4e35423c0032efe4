"""The logical layer: each class is matched by the best of its own shapes, minus the others."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.layers.semantic import SemanticFeature, SemanticLayer


class XorFeature(SemanticFeature):
    """A one-hot vector that may roll to any place (Satkiewicz 2024, sec. 3.4).

    Base (n,), zero but for one entry; poses 0 .. n-1; L(p) rolls right by p; match is the inner
    product. SFmatch(d) is therefore the hot value times the largest entry of d (for a hot value > 0).
    """

    def __init__(self, base: Tensor) -> None:
        super().__init__(base, torch.arange(len(base)))

    def locality(self, pose: Tensor) -> Tensor:
        return self.base.roll(int(pose))


class LogicalFeature(SemanticFeature):
    """One-hot blocks with dense blocks between (Satkiewicz 2024, sec. 3.5).

    Base (n,); `blocks` are the half-open ranges of the one-hot blocks, all else is dense. A pose is one
    shift for each one-hot block; L(p) rolls each one-hot block by its shift and leaves the dense
    blocks alone; match is the inner product. Poses are all combinations of shifts.
    """

    def __init__(self, base: Tensor, blocks: Sequence[tuple[int, int]]) -> None:
        self.blocks = tuple(blocks)
        shifts = itertools.product(*(range(stop - start) for start, stop in self.blocks))
        super().__init__(base, torch.tensor(list(shifts)))

    def locality(self, pose: Tensor) -> Tensor:
        places = torch.arange(len(self.base))
        for (start, stop), shift in zip(self.blocks, pose.tolist(), strict=True):
            places[start:stop] = places[start:stop].roll(shift)
        return self.base[places]


class ClassMatch(NamedTuple):
    """The logit of every class and its winning pose, both (N, classes)."""

    logit: Tensor
    pose: Tensor


class LogicalLayer(SemanticLayer):
    """One logical feature a class: the best of my own shapes, minus a weighted sum of the others.

    Sec. 4.4: features are ordered by class; the row of a class has one one-hot block over its own
    features and is dense elsewhere. It starts as 0.4 at the block's first place and -0.1 at every
    dense one. The other places of a one-hot block are zero by definition and stay so.
    """

    def __init__(self, classes: int, shapes_per_class: int) -> None:
        super().__init__()
        count = classes * shapes_per_class
        self.blocks = [(c * shapes_per_class, (c + 1) * shapes_per_class) for c in range(classes)]
        base = torch.full((classes, count), -0.1)
        live = torch.ones(classes, count)
        for row, (start, stop) in enumerate(self.blocks):
            live[row, start + 1 : stop] = 0.0
            base[row, start] = 0.4
        self.base = nn.Parameter(base * live)
        # Which entry of the base stands at each place of each pose: rolling becomes one gather.
        entries = torch.arange(count)
        rolled = [LogicalFeature(entries, [block]) for block in self.blocks]
        places = torch.stack([torch.stack([f.locality(p) for p in f.poses]) for f in rolled])
        self.register_buffer("live", live, persistent=False)
        self.register_buffer("places", places, persistent=False)  # (classes, poses, n)
        self.live: Tensor
        self.places: Tensor

    def expand(self) -> Tensor:
        """Returns the row of every class in each of its poses: (classes, poses, n)."""
        base = (self.base * self.live)[:, None].expand(self.places.shape)
        return base.gather(2, self.places)

    def features(self) -> Sequence[LogicalFeature]:
        bases = self.base * self.live
        return [LogicalFeature(b, [block]) for b, block in zip(bases, self.blocks, strict=True)]

    def forward(self, shapes: Tensor) -> Tensor:
        """Maps activations (N, n) to logits (N, classes)."""
        return match_classes(shapes, self.expand()).logit


def match_classes(shapes: Tensor, rows: Tensor) -> ClassMatch:
    """Matches activations (N, n) with rows (classes, poses, n), the best pose of each class."""
    scores = shapes @ rows.flatten(0, 1).T  # (N, classes * poses)
    best, pose = scores.unflatten(1, rows.shape[:2]).max(dim=2)  # (N, classes)
    return ClassMatch(best, pose)
