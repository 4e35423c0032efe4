"""Linear bounds of the bright map over a box of two-step values.

Interval bounds treat each pixel of the bright map separately. Neighbouring pixels share pixels of the image,
though, and cannot all take their worst value at once. Linear bounds keep that dependency: each pixel of the
bright map is bounded by linear functions of the two-step values, and those are added up before the worst
value is taken.

With patch z, kernels w_k (a kernel of zeros for the ReLU among them) and any k, all over the box

    w_k . z <= max_j w_j . z <= w_k . z + c_k,   c_k = max over the box and j of (w_j - w_k) . z,

so each kernel gives one lower and one upper linear bound; the interval bounds are the constant ones. Every
convex combination of them is a bound too; model/verification/lagrangian.py optimises over those.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from model.verification.interval_bounds import Interval, linear_interval

# A pixel whose two-step value moves less than this is left out of the slopes; the constants allow for it.
_MOVABLE = 0.02
# A pixel of the bright map that moves less than this keeps its interval bounds alone.
_UNDECIDED = 1e-3


@dataclass(frozen=True)
class LinearBounds:
    """Bounds lower_k + slope_k . patch and upper_k + slope_k . patch of the undecided bright pixels.

    Images are flat, of H * W pixels.

    Attributes:
        box: (H * W,) bounds of the two-step values.
        bright: (H * W,) interval bounds of the bright map.
        movable: (M,) the pixels of the two-step map that the linear functions depend on.
        undecided: (Y,) the pixels of the bright map that have linear bounds.
        places: (Y, k * k) index into `movable` of each pixel of each patch; M where it is not movable.
        slopes: (K + 1, k * k), the kernels divided by k; the last is 0.
        fixed: (Y, K + 1), bounds of what the pixels that are not movable add to each response.
        responses: (Y, K + 1), bounds of the responses; the last is the ReLU's 0.
        gaps: (Y, K + 1, K + 1), [k, j] is the upper bound of response j minus response k.
    """

    box: Interval
    bright: Interval
    movable: Tensor
    undecided: Tensor
    places: Tensor
    slopes: Tensor
    fixed: Interval
    responses: Interval
    gaps: Tensor

    @classmethod
    def over(cls, box: Interval, kernels: Tensor, size: tuple[int, int]) -> "LinearBounds":
        """Returns the bounds over a box (H * W,), for kernels (K, k, k) of norm 1 and images of `size`."""
        slopes = F.pad(kernels.flatten(1) / kernels.shape[-1], (0, 0, 0, 1))
        patches = _patch_pixels(kernels.shape[-1], size)
        every = linear_interval(_patches(box, patches), slopes)
        bright = Interval(*(bound.amax(dim=1) for bound in every))
        undecided = (bright.upper - bright.lower > _UNDECIDED).nonzero()[:, 0]
        movable = (box.upper - box.lower > _MOVABLE).nonzero()[:, 0]
        number = torch.full((len(patches) + 1,), len(movable))
        number[movable] = torch.arange(len(movable))
        places = number[patches[undecided]]
        values = _patches(box, patches[undecided])
        fixed = Interval(*(bound * (places == len(movable)) for bound in values))
        responses = Interval(*(bound[undecided] for bound in every))
        fixed, gaps = linear_interval(fixed, slopes), _gaps(values, slopes)
        return cls(box, bright, movable, undecided, places, slopes, fixed, responses, gaps)

    @cached_property
    def lower_constants(self) -> Tensor:
        """The lower bounds at patch 0, (Y, K + 1); the last is the interval bound."""
        return torch.cat([self.fixed.lower[:, :-1], self.bright.lower[self.undecided, None]], dim=1)

    @cached_property
    def upper_constants(self) -> Tensor:
        """The upper bounds at patch 0, (Y, K + 1); the last is the interval bound."""
        highest = self.fixed.upper + self.gaps.amax(dim=2)
        return torch.cat([highest[:, :-1], self.bright.upper[self.undecided, None]], dim=1)

    @cached_property
    def values(self) -> Interval:
        """The bounds of the movable pixels, (M,)."""
        return Interval(self.box.lower[self.movable], self.box.upper[self.movable])

    def combined(self, weights: Tensor, constants: Tensor) -> tuple[Tensor, Tensor]:
        """Returns convex combinations of the bounds: slopes (..., Y, M) and constants (..., Y).

        Args:
            weights: (..., Y, K + 1), each row sums to 1.
            constants: `lower_constants` or `upper_constants`.
        """
        patches = weights @ self.slopes  # (..., Y, k * k)
        spread = patches.new_zeros(*patches.shape[:-1], len(self.movable) + 1)
        spread = spread.scatter_add(-1, self.places.expand(patches.shape), patches)
        return spread[..., :-1], (weights * constants).sum(dim=-1)


def _patch_pixels(side: int, size: tuple[int, int]) -> Tensor:
    """Returns the pixels of the patch at each place, (H * W, k * k); H * W stands for the padding."""
    count = size[0] * size[1]
    numbers = torch.arange(1, count + 1, dtype=torch.float64).view(1, 1, *size)
    patches = F.unfold(numbers, side, padding=side // 2)[0].T.long()
    return torch.where(patches == 0, count, patches - 1)


def _patches(box: Interval, pixels: Tensor) -> Interval:
    return Interval(*(F.pad(bound, (0, 1))[pixels] for bound in box))


def _gaps(patches: Interval, slopes: Tensor) -> Tensor:
    differences = (slopes[None] - slopes[:, None]).flatten(0, 1)  # row (k, j) is w_j - w_k
    gaps: Tensor = linear_interval(patches, differences).upper.unflatten(1, (len(slopes), -1))
    return gaps
