"""A tighter lower bound of the margin against one pose of a wrong class, by Lagrangian decomposition.

Against pose r of a wrong class the margin is max over q of d_q . shapes, d_q = row_tq - row_cr. For all
weights that are at least 0 and sum to at most 1,

    margin >= support . bright - sum over f of n_f shape_f,

where `support` adds up the templates of the shapes with positive weight for the true class, weighted over its
rows q and over poses, and n_f is the weight of a shape f that opposes it. Each opposing shape f gets a
Lagrange multiplier lambda_f, a part of the support that is subtracted from it before its worst pose is taken:

    margin >= min of (support - sum over f of lambda_f) . bright
              + sum over f of the min over poses p of (lambda_f - n_f T_fp) . bright.

Linear bounds of the bright map (model/verification/linear_bounds.py) make each minimum that of a linear
function over a box. The bound holds for any weights and multipliers; supergradient ascent improves them.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from model.attacks.budget import Budget
from model.verification.interval_bounds import Interval, linear_interval
from model.verification.linear_bounds import LinearBounds

_STEPS = 120
_STEPS_BETWEEN_CHECKS = 15
# The ascent is abandoned where this many times its last gain would not reach the target.
_HOPE = 4.0
_WEIGHT_RATE, _MULTIPLIER_RATE = 0.2, 0.02
# Initial logit of the chosen entry of each softmax, so that the ascent starts near the interval bound.
_INITIAL_LOGIT = 6.0


@dataclass(frozen=True)
class _Variables:
    """What the bound is optimised over: weights as logits of a softmax, and Lagrange multipliers.

    Attributes:
        rows: (Q,) weights of the rows of the true class.
        poses: (F, P + 1) weights of the templates that support it.
        lower: (G + 1, Y, K + 1) weights of the lower linear bounds, for each opposing shape and the rest.
        upper: (G + 1, Y, K + 1) weights of the upper linear bounds.
        multipliers: (G, Y), of the opposing shapes.
    """

    rows: Tensor
    poses: Tensor
    lower: Tensor
    upper: Tensor
    multipliers: Tensor


@dataclass(frozen=True)
class LagrangianMarginProblem:
    """The margin of one image against one pose of a wrong class, over a box of two-step values.

    Attributes:
        bounds: Linear bounds of the bright map over the box.
        differences: (Q, F), d_q.
        templates: (F, P + 1, Y) at the undecided bright pixels; the last pose is the ReLU's: 0.
        decided: (F, P + 1), bounds of what the other bright pixels add to each match.
        matches: (F, P + 1), interval bounds of the matches.
    """

    bounds: LinearBounds
    differences: Tensor
    templates: Tensor
    decided: Interval
    matches: Interval

    @classmethod
    def against_every_pose(
        cls, bounds: LinearBounds, templates: Tensor, rows: Tensor, true: int
    ) -> "list[LagrangianMarginProblem]":
        """Returns the problems of class `true` against every pose of every other class."""
        zero = templates.new_zeros(len(templates), 1, templates[0, 0].numel())
        flat = torch.cat([templates.flatten(2), zero], dim=1)  # (F, P + 1, H * W)
        rest = Interval(*(bound.index_fill(0, bounds.undecided, 0.0) for bound in bounds.bright))
        return [
            cls(
                bounds,
                rows[true] - row,
                flat[..., bounds.undecided],
                _matches(rest, flat),
                _matches(bounds.bright, flat),
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
    def opposing(self) -> Tensor:
        """The shapes that may lower the margin, (G,)."""
        return ((self.differences < 0).any(dim=0) & (self.shapes.upper > 0)).nonzero()[:, 0]

    def interval_bound(self) -> float:
        """Returns the lower bound of the margin by intervals alone."""
        return float(linear_interval(self.shapes, self.differences).lower.amax())

    def lagrangian_bound(self, target: float, budget: Budget) -> float:
        """Returns the best lower bound of the margin that gradient ascent finds.

        It stops above `target`, when the budget is spent, or when the target is out of reach.
        """
        variables = self._initial()
        *weights, multipliers = (tensor.requires_grad_() for tensor in vars(variables).values())
        groups = [
            {"params": weights, "lr": _WEIGHT_RATE},
            {"params": [multipliers], "lr": _MULTIPLIER_RATE},
        ]
        optimizer = torch.optim.Adam(groups, betas=(0.8, 0.95), maximize=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, _STEPS)
        best = before = float("-inf")
        for step in range(_STEPS):
            with torch.enable_grad():
                bound = self._value(variables)
            best = max(best, bound.item())
            if best > target or budget.out_of_time():
                break
            if step % _STEPS_BETWEEN_CHECKS == _STEPS_BETWEEN_CHECKS - 1:
                if best + _HOPE * (best - before) < target:
                    break
                before = best
            optimizer.zero_grad()
            bound.backward()
            optimizer.step()
            schedule.step()
        return max(best, self.interval_bound())

    def _initial(self) -> _Variables:
        """Returns variables near the interval bound."""
        bounds, opposing = self.bounds, len(self.opposing)
        lowest = torch.cat([bounds.responses.lower[:, :-1], bounds.lower_constants[:, -1:]], dim=1)
        lower = _nearly_one_hot(lowest.argmax(dim=1), lowest.shape[1])
        upper = _nearly_one_hot(torch.full((len(lowest),), lowest.shape[1] - 1), lowest.shape[1])
        rows = linear_interval(self.shapes, self.differences).lower
        return _Variables(
            _nearly_one_hot(rows.argmax(), len(rows)),
            _nearly_one_hot(self.matches.lower.argmax(dim=1), self.matches.lower.shape[1]),
            lower.repeat(opposing + 1, 1, 1),
            upper.repeat(opposing + 1, 1, 1),
            torch.zeros(opposing, len(lowest), dtype=torch.float64),
        )

    def _value(self, variables: _Variables) -> Tensor:
        """Returns the lower bound at these variables."""
        rows = variables.rows.softmax(dim=0)
        positive = rows @ self.differences.clamp(min=0)  # (F,)
        negative = -(rows @ self.differences.clamp(max=0))[self.opposing, None]  # (G, 1)
        poses = positive[:, None] * variables.poses.softmax(dim=1)  # (F, P + 1)
        support = poses.flatten() @ self.templates.flatten(0, 1)  # (Y,)
        templates = negative[..., None] * self.templates[self.opposing]  # (G, P + 1, Y)
        opposed = variables.multipliers[:, None] - templates  # (G, P + 1, Y)
        rest = (support - variables.multipliers.sum(dim=0))[None, None]  # (1, 1, Y)
        worst = self._lowest(opposed, variables.lower[:-1], variables.upper[:-1])  # (G, P + 1)
        worst = worst - negative * self.decided.upper[self.opposing]
        worst = worst.masked_fill(~self.possible[self.opposing], torch.inf).amin(dim=1)  # (G,)
        remaining = self._lowest(rest, variables.lower[-1:], variables.upper[-1:]).sum()
        return worst.sum() + remaining + (poses * self.decided.lower).sum()

    def _lowest(self, weights: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Bounds weights (G, P, Y) . bright from below, by linear bounds weighted (G, Y, K + 1): (G, P)."""
        bounds = self.bounds
        slope_lower, low = bounds.combined(lower.softmax(dim=2), bounds.lower_constants)
        slope_upper, high = bounds.combined(upper.softmax(dim=2), bounds.upper_constants)
        positive, negative = weights.clamp(min=0), weights.clamp(max=0)
        slope = positive @ slope_lower + negative @ slope_upper  # (G, P, M)
        constant = positive @ low[..., None] + negative @ high[..., None]  # (G, P, 1)
        least, most = bounds.values
        return constant[..., 0] + slope @ ((least + most) / 2) - slope.abs() @ ((most - least) / 2)


def _matches(bright: Interval, templates: Tensor) -> Interval:
    bounds = linear_interval(bright, templates.flatten(0, 1))
    return Interval(*(bound.view(templates.shape[:2]) for bound in bounds))


def _nearly_one_hot(chosen: Tensor, count: int) -> Tensor:
    """Returns logits (..., count) whose softmax is nearly 1 at the chosen entry."""
    return _INITIAL_LOGIT * torch.nn.functional.one_hot(chosen, count).double()
