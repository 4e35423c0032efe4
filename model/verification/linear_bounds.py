"""Planes below and above the bright map over a box of two-step values.

Intervals take each pixel of the bright map for itself. Neighbours share pixels of the image, though, and
cannot all be at their worst at once. Planes keep that in view: they bound a pixel of the bright map by
linear functions of the two-step values, and those add up before the worst value is taken.

With patch z, kernels w_k (a kernel of zeros for the ReLU among them) and whichever k, all over the box

    w_k . z <= max_j w_j . z <= w_k . z + c_k,   c_k = max over the box and j of (w_j - w_k) . z,

so each kernel gives a plane below and one above, and the interval bounds two flat ones. Every convex
combination of planes is a bound too; model/verification/lagrangian.py looks for the best one.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from model.verification.interval_bounds import Interval, linear_interval

# A pixel whose two-step value moves less than this has no part in the slopes; the constants allow for it.
_MOVABLE = 0.02
# A pixel of the bright map that moves less than this needs no planes: its interval will do.
_UNDECIDED = 1e-3


@dataclass(frozen=True)
class Planes:
    """Bounds low_k + slope_k . patch and high_k + slope_k . patch of the undecided bright pixels.

    Attributes:
        box: (784,) bounds of the two-step values.
        bright: (784,) interval bounds of the bright map.
        movable: (M,) the pixels of the two-step map that the planes are over.
        undecided: (Y,) the pixels of the bright map that have planes.
        places: (Y, k * k) which movable pixel stands where in each patch; M where none does.
        slopes: (K + 1, k * k), the kernels divided by k; the last is 0.
        still: (Y, K + 1), bounds of what the pixels that hardly move add to each response.
        responses: (Y, K + 1), bounds of the responses; the last is the ReLU's 0.
        leads: (Y, K + 1, K + 1), [k, j] is how far kernel j may be ahead of kernel k.
    """

    box: Interval
    bright: Interval
    movable: Tensor
    undecided: Tensor
    places: Tensor
    slopes: Tensor
    still: Interval
    responses: Interval
    leads: Tensor

    @classmethod
    def over(cls, box: Interval, kernels: Tensor) -> "Planes":
        """Returns the planes over a box (784,), for kernels (K, k, k) of norm 1."""
        slopes = F.pad(kernels.flatten(1) / kernels.shape[-1], (0, 0, 0, 1))
        taps = _taps(kernels.shape[-1])
        every = linear_interval(_patches(box, taps), slopes)
        bright = Interval(*(bound.amax(dim=1) for bound in every))
        undecided = (bright.upper - bright.lower > _UNDECIDED).nonzero()[:, 0]
        movable = (box.upper - box.lower > _MOVABLE).nonzero()[:, 0]
        number = torch.full((len(taps) + 1,), len(movable))
        number[movable] = torch.arange(len(movable))
        places = number[taps[undecided]]
        patches = _patches(box, taps[undecided])
        still = Interval(*(bound * (places == len(movable)) for bound in patches))
        responses = Interval(*(bound[undecided] for bound in every))
        still, leads = linear_interval(still, slopes), _leads(patches, slopes)
        return cls(box, bright, movable, undecided, places, slopes, still, responses, leads)

    @cached_property
    def low(self) -> Tensor:
        """The planes below at patch 0, (Y, K + 1); the last is the interval bound."""
        return torch.cat([self.still.lower[:, :-1], self.bright.lower[self.undecided, None]], dim=1)

    @cached_property
    def high(self) -> Tensor:
        """The planes above at patch 0, (Y, K + 1); the last is the interval bound."""
        highest = self.still.upper + self.leads.amax(dim=2)
        return torch.cat([highest[:, :-1], self.bright.upper[self.undecided, None]], dim=1)

    @cached_property
    def values(self) -> Interval:
        """The bounds of the movable pixels, (M,)."""
        return Interval(self.box.lower[self.movable], self.box.upper[self.movable])

    def combined(self, shares: Tensor, constants: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the convex combinations of planes: slopes (..., Y, M) and constants (..., Y).

        Args:
            shares: (..., Y, K + 1), each row sums to 1.
            constants: `low` or `high`.
        """
        taps = shares @ self.slopes  # (..., Y, k * k)
        spread = taps.new_zeros(*taps.shape[:-1], len(self.movable) + 1)
        spread = spread.scatter_add(-1, self.places.expand(taps.shape), taps)
        return spread[..., :-1], (shares * constants).sum(dim=-1)


def _taps(side: int, size: int = 28) -> Tensor:
    """Returns which pixels the patch at each place covers, (784, k * k); 784 stands for the padding."""
    numbers = torch.arange(1, size * size + 1, dtype=torch.float64).view(1, 1, size, size)
    patches = F.unfold(numbers, side, padding=side // 2)[0].T.long()
    return torch.where(patches == 0, size * size, patches - 1)


def _patches(box: Interval, taps: Tensor) -> Interval:
    return Interval(*(F.pad(bound, (0, 1))[taps] for bound in box))


def _leads(patches: Interval, slopes: Tensor) -> Tensor:
    differences = (slopes[None] - slopes[:, None]).flatten(0, 1)  # row (k, j) is w_j - w_k
    leads: Tensor = linear_interval(patches, differences).upper.unflatten(1, (len(slopes), -1))
    return leads
