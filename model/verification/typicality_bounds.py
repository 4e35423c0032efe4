"""Bounds of the typicality score over an L-inf ball: can an attack make an image untypical, or typical?

The score (model/typicality.py) is made of the pooled bright map v, which lies in a box [l, u] with l >= 0,
and of the largest logit. Each term is bounded for itself:

- ||v|| by ||l|| and ||u||;
- the cosine <q, v> / ||v|| of a prototype q from below by any s with <q, v> - s ||v|| >= 0 in the whole box.
  As ||v|| <= (||v||^2 / a + a) / 2 for any a > 0, <q, v> - s (||v||^2 / a + a) / 2 >= 0 is enough, which is
  concave in each v_i and so least at an end of its interval. The prototype nearest to the box's centre is
  enough for a bound of the maximum;
- the cosine from above by any s with <q, v> - s ||v|| <= 0 in the whole box. As ||v|| >= <c, v> for any c
  of norm 1, here the direction of the box's centre, it is enough that <q - s c, v> <= 0, which is linear;
- the largest logit by interval bounds of all of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.package import ModelPackage
from model.typicality import Typicality, Weights, pooled_maps
from model.verification.interval_bounds import Interval, IntervalBounds, linear_interval

# What float32 may make of a score, relative to the sizes of its terms.
_ROUNDING = 1e-5
_COSINES = torch.linspace(0, 1, 1025, dtype=torch.float64)
# How far from the centre's norm the a of the bound from below is tried.
_NORMS = (0.95, 1.0, 1.05)


@dataclass(frozen=True)
class TypicalityBounds:
    """The bounds of one network's score, in float64.

    Attributes:
        bounds: Of the network.
        prototypes: (M, h * w), each of norm 1 and nowhere negative.
        weights: Of the score's terms.
        pooling: Side of the squares whose means are compared.
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
        logits = linear_interval(shapes, self.bounds.rows.flatten(0, 1))  # (1, classes * poses) each
        ink = Interval(box.lower.norm(), box.upper.norm())
        if ink.lower == 0:
            similarity = Interval(torch.zeros(()), torch.ones(()))
        else:
            similarity = Interval(self._least_similarity(box), self._greatest_similarity(box))
        w1, w2 = self.weights
        lower = float(w2 * ink.lower - w1 * similarity.upper - logits.upper.amax())
        upper = float(w2 * ink.upper - w1 * similarity.lower - logits.lower.amax())
        slack = _ROUNDING * (w1 + w2 * float(ink.upper) + float(logits.upper.abs().amax()))
        return lower - slack, upper + slack if ink.lower > 0 else torch.finfo(torch.float32).max

    def _least_similarity(self, box: Interval) -> Tensor:
        centre = (box.lower + box.upper) / 2
        nearest = self.prototypes[(self.prototypes @ centre).argmax()]  # (D,)
        holds = torch.zeros(len(_COSINES), dtype=torch.bool)
        for norm in (factor * centre.norm() for factor in _NORMS):
            curvature = _COSINES[:, None] / (2 * norm)  # (S, 1)
            ends = [nearest * end - curvature * end.square() for end in box]  # (S, D) each
            holds |= torch.minimum(*ends).sum(dim=1) >= _COSINES * norm / 2
        return _COSINES[holds].amax()  # 0 holds always

    def _greatest_similarity(self, box: Interval) -> Tensor:
        centre = box.lower + box.upper
        direction, below = centre / centre.norm(), self.prototypes
        low, high = 0, len(_COSINES) - 1
        while high - low > 1:  # the bound falls as s grows
            middle = (low + high) // 2
            ranges = linear_interval(box, below - _COSINES[middle] * direction)  # (M,) each
            if (above := ranges.upper > 0).any():
                low, below = middle, below[above]
            else:
                high = middle
        return _COSINES[high]
