"""Exact verification of one margin as a mixed-integer linear program, solved by HiGHS (Tjeng et al. 2019).

The question: is there a point in the box where the margin against one pose of a wrong class is at most a
threshold? The two-step layer is monotone and continuous in each pixel, so the box of two-step values is the
exact image of the ball, and the program starts there. A pixel of the bright map is at least each of its
responses, and at most the one that a binary variable chooses; likewise an opposing shape and its poses. A
supporting shape needs only "at least", since a small margin pushes it down. Interval bounds decide which
kernels and poses may win at all.

A feasibility question is answered much sooner than the minimum is found (docs/decisions/0008).
"""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array
from torch import Tensor

from model.verification.interval_bounds import Interval
from model.verification.lagrangian import LagrangianMarginProblem

# HiGHS satisfies constraints to 1e-6; a proof excludes this much more than the threshold.
_TOLERANCE = 1e-3
_INFEASIBLE = 2

Columns = NDArray[np.int64]


@dataclass(frozen=True)
class MilpResult:
    """The solver's answer.

    Attributes:
        status: "infeasible" (no such point exists), "feasible" or "open" (the time limit was reached).
        pixels: (H * W,) two-step values of the point, if there is one.
    """

    status: Literal["infeasible", "feasible", "open"]
    pixels: Tensor | None = None


def find_margin_below(problem: LagrangianMarginProblem, threshold: float, deadline: float) -> MilpResult:
    """Looks for a point in the problem's box whose margin is at most `threshold`.

    Args:
        problem: The margin against one pose of a wrong class.
        threshold: The largest margin looked for.
        deadline: A `time.monotonic()` value.
    """
    program, bounds = _Program(), problem.bounds
    values = program.variables(bounds.values)
    bright = _add_bright(program, problem, values)
    shapes = _add_shapes(program, problem, bright)
    for difference in problem.differences:
        program.at_most([(shapes, difference)], threshold + _TOLERANCE)
    solution = program.solve(deadline - time.monotonic())
    if isinstance(solution, str):
        return MilpResult(solution)
    pixels = (bounds.box.lower + bounds.box.upper) / 2
    pixels[bounds.movable] = torch.from_numpy(solution[values])
    return MilpResult("feasible", pixels.clamp(*bounds.box))


def _add_bright(program: "_Program", problem: LagrangianMarginProblem, values: Columns) -> Columns:
    """Adds the undecided pixels of the bright map; returns their columns (Y,)."""
    bounds = problem.bounds
    bright = program.variables(Interval(*(bound[bounds.undecided] for bound in bounds.bright)))
    padded = np.append(values, -1)
    may_win = _may_win(bounds.responses, bounds.gaps)
    gap = bounds.gaps.amax(dim=2)
    for y, kernels in enumerate(may_win):
        columns, inside = padded[bounds.places[y]], bounds.places[y] < len(values)
        response = columns[inside]
        winners = kernels.nonzero()[:, 0]
        chosen = program.choice(len(winners))
        for k, binary in zip(winners.tolist(), chosen, strict=True):
            slope = bounds.slopes[k, inside]
            excess = [(bright[y : y + 1], torch.ones(1)), (response, -slope)]
            program.at_least(excess, bounds.fixed.lower[y, k])
            room = gap[y, k]
            program.at_most([*excess, (binary, room[None])], bounds.fixed.upper[y, k] + room)
    return bright


def _may_win(responses: Interval, gaps: Tensor) -> Tensor:
    """Returns which kernels may have the largest response somewhere in the box, (Y, K + 1)."""
    possible = responses.upper >= responses.lower.amax(dim=1, keepdim=True)
    never_larger = gaps.mT <= 0  # [k, j]: response k nowhere exceeds response j
    before = torch.ones(gaps.shape[1:]).tril(-1).bool()  # of two equal responses the first is kept
    return possible & ~(never_larger & (~never_larger.mT | before)).any(dim=2)


def _add_shapes(program: "_Program", problem: LagrangianMarginProblem, bright: Columns) -> Columns:
    """Adds the shapes; returns their columns (F,)."""
    shapes = program.variables(problem.shapes)
    opposing = set(problem.opposing.tolist())
    for f, possible in enumerate(problem.possible):
        poses = possible.nonzero()[:, 0].tolist()
        binaries = program.choice(len(poses)) if f in opposing else [None] * len(poses)
        for p, binary in zip(poses, binaries, strict=True):
            excess = [(shapes[f : f + 1], torch.ones(1)), (bright, -problem.templates[f, p])]
            program.at_least(excess, problem.decided.lower[f, p])
            if binary is not None:
                room = problem.shapes.upper[f] - problem.matches.lower[f, p]
                limit = problem.decided.upper[f, p] + room
                program.at_most([*excess, (binary, room[None])], limit)
    return shapes


Terms = list[tuple[Columns, Tensor]]


class _Program:
    """A mixed-integer program without an objective, built constraint by constraint."""

    def __init__(self) -> None:
        self._bounds: list[Interval] = []
        self._whole: list[bool] = []
        self._rows: list[Terms] = []
        self._limits: list[tuple[float, float]] = []

    def variables(self, bounds: Interval) -> Columns:
        """Adds real variables and returns their columns."""
        return self._add(bounds, whole=False)

    def choice(self, count: int) -> list[Columns]:
        """Adds binaries of which exactly one is 1, and returns their columns, one array each."""
        binaries = self._add(Interval(torch.zeros(count), torch.ones(count)), whole=True)
        self._rows.append([(binaries, torch.ones(count))])
        self._limits.append((1.0, 1.0))
        return list(binaries[:, None])

    def at_least(self, terms: Terms, limit: float | Tensor) -> None:
        """Adds the row: sum of weights * variables >= limit."""
        self._rows.append(terms)
        self._limits.append((float(limit), np.inf))

    def at_most(self, terms: Terms, limit: float | Tensor) -> None:
        """Adds the row: sum of weights * variables <= limit."""
        self._rows.append(terms)
        self._limits.append((-np.inf, float(limit)))

    def solve(self, seconds: float) -> "NDArray[np.float64] | Literal['infeasible', 'open']":
        """Returns a point that keeps all rows, or "infeasible", or "open" when time ran out."""
        if seconds <= 0:
            return "open"
        found = milp(
            np.zeros(len(self._whole)),
            integrality=np.array(self._whole),
            bounds=Bounds(*(torch.cat(ends).numpy() for ends in zip(*self._bounds, strict=True))),
            constraints=LinearConstraint(self._matrix(), *np.array(self._limits).T),
            options={"time_limit": seconds},
        )
        if found.x is not None:
            point: NDArray[np.float64] = found.x
            return point
        return "infeasible" if found.status == _INFEASIBLE else "open"

    def _add(self, bounds: Interval, whole: bool) -> Columns:
        first = len(self._whole)
        self._bounds.append(Interval(*(bound.double() for bound in bounds)))
        self._whole += [whole] * len(bounds.lower)
        return np.arange(first, len(self._whole))

    def _matrix(self) -> coo_array:
        columns = np.concatenate([c for terms in self._rows for c, _ in terms])
        weights = torch.cat([w.double() for terms in self._rows for _, w in terms]).numpy()
        lengths = [sum(len(c) for c, _ in terms) for terms in self._rows]
        rows = np.repeat(np.arange(len(lengths)), lengths)
        return coo_array((weights, (rows, columns)), shape=(len(self._rows), len(self._whole))).tocsr()
