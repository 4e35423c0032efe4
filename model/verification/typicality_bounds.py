"""Bounds of the typicality score over an L-inf ball: can an attack make an image untypical, or typical?

The score (model/typicality.py) is made of the pooled bright map v, which lies in a box [l, u] with l >= 0,
and of the logits. Each term is bounded for itself:

- ||v|| by ||l|| and ||u||;
- the cosine <q, v> / ||v|| of a prototype q from below by any s with <q, v> - s ||v|| >= 0 in the whole box.
  As ||v|| <= (||v||^2 / a + a) / 2 for any a > 0, <q, v> - s (||v||^2 / a + a) / 2 >= 0 is enough, which is
  concave in each v_i and so least at an end of its interval. The prototypes nearest to the box's centre are
  enough for a bound of the maximum;
- the cosine from above by any s with <q, v> - s ||v|| <= 0 in the whole box. As ||v|| >= <c, v> for any c
  of norm 1, here the direction of the box's centre, it is enough that <q - s c, v> <= 0, which is linear;
- the margin max l - mean l from below by pairwise margins of the class that is largest at the centre of the
  activations' box, from above by putting for every logit in the mean one of its rows, which is at most it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.package import ModelPackage
from model.typicality import Typicality, Weights, pooled_maps
from model.verification.interval_bounds import (
    Interval,
    IntervalBounds,
    linear_interval,
    margin_lower_bounds,
)

# What float32 may make of a score, relative to the sizes of its terms.
_ROUNDING = 1e-5
# Cosines are bounded to 2 ** -12.
_HALVINGS = 12
# So many prototypes bound the largest cosine from below.
_NEAREST = 16
# How far from the centre's norm the a of the bound from below is tried.
_NORMS = torch.tensor([0.95, 1.0, 1.05], dtype=torch.float64)


@dataclass(frozen=True)
class TypicalityBounds:
    """The bounds of one network's score, in float64.

    Attributes:
        bounds: Of the network.
        prototypes: (M, h * w), each of norm 1 and nowhere negative.
        weights: Of the score's terms.
        pooling: How far the squares whose means are compared are apart.
    """

    bounds: IntervalBounds
    prototypes: Tensor
    weights: Weights
    pooling: int

    @classmethod
    def of(cls, bounds: IntervalBounds, package: ModelPackage) -> "TypicalityBounds | None":
        """Returns the bounds of a package's score, given those of its network; None if it has no prototypes.

        Raises:
            PackageError: Its prototypes are damaged.
        """
        typicality = Typicality.from_package(package)
        if typicality is None:
            return None
        weights = typicality.weights
        prototypes = typicality.weighted_prototypes.double() / weights.similarity
        return cls(bounds, prototypes, weights, typicality.pooling)

    @torch.no_grad()
    def score(self, image: Tensor, epsilon: float) -> tuple[float, float]:
        """Bounds the score of every image within epsilon of one, as any runtime computes it in float32.

        Args:
            image: (1, 1, H, W) in [0, 1].
            epsilon: Radius of the L-inf ball, cut with the box [0, 1].

        Returns:
            The lower and the upper bound. Where the bright map may be empty there is no upper one: the
            largest number of float32 stands for it, as it does for such an image's score.
        """
        bright, shapes = self.bounds.layers(image, epsilon)
        box = Interval(*(pooled_maps(end, self.pooling)[0] for end in bright))  # (h * w,) each
        margin = _margin(shapes, self.bounds.rows)
        ink = Interval(box.lower.norm(), box.upper.norm())
        if ink.lower == 0:
            similarity = Interval(torch.zeros(()), torch.ones(()))
        else:
            similarity = Interval(self._least_similarity(box), self._greatest_similarity(box))
        w1, w2 = self.weights
        lower = float(w2 * ink.lower - w1 * similarity.upper - margin.upper)
        upper = float(w2 * ink.upper - w1 * similarity.lower - margin.lower)
        slack = _ROUNDING * (w1 + w2 * float(ink.upper) + float(shapes.upper.sum()))
        return lower - slack, upper + slack if ink.lower > 0 else torch.finfo(torch.float32).max

    def _least_similarity(self, box: Interval) -> Tensor:
        centre = (box.lower + box.upper) / 2
        near = (self.prototypes @ centre).topk(min(_NEAREST, len(self.prototypes))).indices
        directions = self.prototypes[near]  # (K, D)
        norms = (_NORMS * centre.norm())[:, None]  # (A, 1)

        def hold(cosines: Tensor) -> Tensor:  # (A, K); concave in the cosine, and true of 0
            curvature = (cosines / (2 * norms))[:, :, None]  # (A, K, 1)
            ends = [directions * end - curvature * end.square() for end in box]  # (A, K, D) each
            holds: Tensor = torch.minimum(*ends).sum(dim=2) >= cosines * norms / 2
            return holds

        return _where_it_ends(hold, (len(norms), len(near))).lower.amax()

    def _greatest_similarity(self, box: Interval) -> Tensor:
        centre = box.lower + box.upper
        direction = centre / centre.norm()

        def may_exceed(cosines: Tensor) -> Tensor:  # (M,)
            offsets = self.prototypes - cosines[:, None] * direction  # (M, D)
            return torch.where(offsets > 0, offsets * box.upper, offsets * box.lower).sum(dim=1) > 0

        return _where_it_ends(may_exceed, (len(self.prototypes),)).upper.amax()


def _where_it_ends(holds: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Interval:
    """Returns between which cosines a condition ceases to hold that is true below and false above."""
    low, high = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        true = holds(middle)
        low, high = torch.where(true, middle, low), torch.where(true, high, middle)
    return Interval(low, high)


def _margin(shapes: Interval, rows: Tensor) -> Interval:
    """Bounds how far the largest logit is above their mean, given the activations' bounds (1, F).

    Args:
        shapes: (1, F) each.
        rows: (classes, poses, F).
    """
    classes = len(rows)
    centre = (shapes.lower[0] + shapes.upper[0]) / 2
    logits, best = (rows @ centre).max(dim=1)  # (classes,) each
    lower = margin_lower_bounds(shapes, rows, logits.argmax().view(1)).sum() / classes
    chosen = rows[torch.arange(classes), best]  # (classes, F)
    others = chosen.sum(dim=0) - chosen  # (classes, F)
    above_mean = rows - (rows + others[:, None]) / classes  # (classes, poses, F)
    return Interval(lower, linear_interval(shapes, above_mean.flatten(0, 1)).upper.amax())
