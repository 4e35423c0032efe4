"""A tighter lower bound of the margin: planes, and the right shapes set against the wrong ones.

Against one pose r of a wrong class the margin is max over q of d_q . shapes, d_q = row_tq - row_cr. For all
weights that are at least 0 and sum to at most 1,

    margin >= support . bright - sum over f of n_f shape_f,

where `support` adds up templates of the shapes that speak for the true class, by weights of the claims q
and of the poses, and n_f is what an opposing shape takes away. Each opposing shape then gets a share of the
support to meet it before the worst is taken, whatever the shares are (a Lagrangian decomposition):

    margin >= min of (support - sum over f of share_f) . bright
              + sum over f of the min over poses p of (share_f - n_f T_fp) . bright.

Planes (model/verification/linear_bounds.py) bound the bright map, so each minimum is that of a
linear function over a box. The bound holds for any weights, shares and planes; supergradient ascent
improves them.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from model.attacks.budget import Limits
from model.verification.interval_bounds import Interval, linear_interval
from model.verification.linear_bounds import Planes

_STEPS = 120
_STEPS_BETWEEN_LOOKS = 15
# A search that would not arrive at its target with this many times its last gain is given up.
_HOPE = 4.0
_RATE_OF_WEIGHTS, _RATE_OF_SHARES = 0.2, 0.02
# The softmaxes start this far from even, near the interval bound.
_CLEARLY = 6.0


@dataclass(frozen=True)
class _Choices:
    """What the bound is free to choose: shares, and weights before their softmax.

    Attributes:
        claims: (Q,) weighs the rows of the true class.
        poses: (F, P + 1) weighs the templates that support it.
        below: (G + 1, Y, K + 1) weighs the planes below, for each opposing shape and for the rest.
        above: (G + 1, Y, K + 1) weighs the planes above.
        shares: (G, Y), what of the support meets each opposing shape.
    """

    claims: Tensor
    poses: Tensor
    below: Tensor
    above: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Opposition:
    """The margin of one image against one pose of a wrong class, over a box of two-step values.

    Attributes:
        planes: Of the bright map over the box.
        differences: (Q, F), d_q.
        templates: (F, P + 1, Y) at the undecided bright pixels; the last pose is the ReLU's: 0.
        decided: (F, P + 1), bounds of what the other bright pixels add to each match.
        matches: (F, P + 1), interval bounds of the matches.
    """

    planes: Planes
    differences: Tensor
    templates: Tensor
    decided: Interval
    matches: Interval

    @classmethod
    def all_against(cls, planes: Planes, templates: Tensor, rows: Tensor, true: int) -> "list[Opposition]":
        """Returns the oppositions of every pose of every other class to class `true`."""
        silent = templates.new_zeros(len(templates), 1, templates[0, 0].numel())
        flat = torch.cat([templates.flatten(2), silent], dim=1)  # (F, P + 1, 784)
        rest = Interval(*(bound.index_fill(0, planes.undecided, 0.0) for bound in planes.bright))
        return [
            cls(
                planes,
                rows[true] - row,
                flat[..., planes.undecided],
                _matches(rest, flat),
                _matches(planes.bright, flat),
            )
            for wrong, others in enumerate(rows)
            if wrong != true
            for row in others
        ]

    @cached_property
    def shapes(self) -> Interval:
        """Interval bounds of the activations, (F,)."""
        return Interval(*(bound.amax(dim=1) for bound in self.matches))

    @cached_property
    def possible(self) -> Tensor:
        """Which poses may win, (F, P + 1)."""
        return self.matches.upper >= self.shapes.lower[:, None]

    @cached_property
    def against(self) -> Tensor:
        """The shapes that may take something away, (G,)."""
        return ((self.differences < 0).any(dim=0) & (self.shapes.upper > 0)).nonzero()[:, 0]

    def interval_bound(self) -> float:
        """Returns the bound by intervals alone."""
        return float(linear_interval(self.shapes, self.differences).lower.amax())

    def linear_bound(self, target: float, limits: Limits) -> float:
        """Returns the best bound found; stops above `target`, at a limit, or when there is no hope."""
        choices = self._start()
        tensors = list(vars(choices).values())
        *weights, shares = (tensor.requires_grad_() for tensor in tensors)
        rates = _RATE_OF_WEIGHTS, _RATE_OF_SHARES
        groups = [{"params": weights, "lr": rates[0]}, {"params": [shares], "lr": rates[1]}]
        optimizer = torch.optim.Adam(groups, betas=(0.8, 0.95), maximize=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, _STEPS)
        best = before = float("-inf")
        for step in range(_STEPS):
            with torch.enable_grad():
                bound = self._value(choices)
            best = max(best, bound.item())
            if best > target or limits.over():
                break
            if step % _STEPS_BETWEEN_LOOKS == _STEPS_BETWEEN_LOOKS - 1:
                if best + _HOPE * (best - before) < target:
                    break
                before = best
            optimizer.zero_grad()
            bound.backward()
            optimizer.step()
            schedule.step()
        return max(best, self.interval_bound())

    def _start(self) -> _Choices:
        """Returns choices near the interval bound."""
        planes, opposing = self.planes, len(self.against)
        lowest = torch.cat([planes.responses.lower[:, :-1], planes.low[:, -1:]], dim=1)
        below = _favouring(lowest.argmax(dim=1), lowest.shape[1])
        above = _favouring(torch.full((len(lowest),), lowest.shape[1] - 1), lowest.shape[1])
        claims = linear_interval(self.shapes, self.differences).lower
        return _Choices(
            _favouring(claims.argmax(), len(claims)),
            _favouring(self.matches.lower.argmax(dim=1), self.matches.lower.shape[1]),
            below.repeat(opposing + 1, 1, 1),
            above.repeat(opposing + 1, 1, 1),
            torch.zeros(opposing, len(lowest), dtype=torch.float64),
        )

    def _value(self, choices: _Choices) -> Tensor:
        """Returns the bound that the choices give."""
        claims = choices.claims.softmax(dim=0)
        gives = claims @ self.differences.clamp(min=0)  # (F,)
        takes = -(claims @ self.differences.clamp(max=0))[self.against, None]  # (G, 1)
        poses = gives[:, None] * choices.poses.softmax(dim=1)  # (F, P + 1)
        support = poses.flatten() @ self.templates.flatten(0, 1)  # (Y,)
        met = choices.shares[:, None] - takes[..., None] * self.templates[self.against]  # (G, P + 1, Y)
        rest = (support - choices.shares.sum(dim=0))[None, None]  # (1, 1, Y)
        worst = (
            self._lowest(met, choices.below[:-1], choices.above[:-1])
            - takes * self.decided.upper[self.against]
        )
        worst = worst.masked_fill(~self.possible[self.against], torch.inf).amin(dim=1)  # (G,)
        left = (
            self._lowest(rest, choices.below[-1:], choices.above[-1:]).sum()
            + (poses * self.decided.lower).sum()
        )
        return worst.sum() + left

    def _lowest(self, weights: Tensor, below: Tensor, above: Tensor) -> Tensor:
        """Bounds weights (G, P, Y) . bright from below, by planes (G, Y, K + 1) each: (G, P)."""
        slope_below, low = self.planes.combined(below.softmax(dim=2), self.planes.low)
        slope_above, high = self.planes.combined(above.softmax(dim=2), self.planes.high)
        positive, negative = weights.clamp(min=0), weights.clamp(max=0)
        slope = positive @ slope_below + negative @ slope_above  # (G, P, M)
        constant = positive @ low[..., None] + negative @ high[..., None]  # (G, P, 1)
        lower, upper = self.planes.values
        return constant[..., 0] + slope @ ((lower + upper) / 2) - slope.abs() @ ((upper - lower) / 2)


def _matches(bright: Interval, templates: Tensor) -> Interval:
    bounds = linear_interval(bright, templates.flatten(0, 1))
    return Interval(*(bound.view(templates.shape[:2]) for bound in bounds))


def _favouring(chosen: Tensor, count: int) -> Tensor:
    """Returns logits (..., count) whose softmax is nearly the choice alone."""
    return _CLEARLY * torch.nn.functional.one_hot(chosen, count).double()
