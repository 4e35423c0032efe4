"""The exact question, put to HiGHS as a mixed-integer programme (after Tjeng et al. 2019).

Is there a point in the box where the margin against one pose of a wrong class is not above a threshold? The
two-step layer is monotone and continuous in each pixel, so the box of two-step values is exactly what the
ball becomes, and the programme starts there. A pixel of the bright map is at least each of its responses,
and at most the one that a binary chooses; likewise an opposing shape and its poses. A supporting shape needs
only "at least": the question pushes it down. Intervals say which kernels and poses may win at all.

Asked as a question it is answered much sooner than the minimum is found (docs/decisions/0008).
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
from model.verification.lagrangian import Opposition

# HiGHS keeps its constraints to 1e-6: what it excludes is excluded with this to spare.
_SPARE = 1e-3
_INFEASIBLE = 2

Columns = NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """What the solver says.

    Attributes:
        kind: "none" (there is no such point), "point" or "open" (time ran out).
        pixels: (784,) two-step values of the point, if there is one.
    """

    kind: Literal["none", "point", "open"]
    pixels: Tensor | None = None


def find_margin_below(opposition: Opposition, threshold: float, deadline: float) -> Answer:
    """Looks for a point in the opposition's box whose margin is at most `threshold`.

    Args:
        opposition: The margin against one pose of a wrong class.
        threshold: A proof excludes it with something to spare.
        deadline: A `time.monotonic()` value.
    """
    programme, planes = _Programme(), opposition.planes
    values = programme.variables(planes.values)
    bright = _add_bright(programme, opposition, values)
    shapes = _add_shapes(programme, opposition, bright)
    for difference in opposition.differences:
        programme.at_most([(shapes, difference)], threshold + _SPARE)
    solution = programme.solve(deadline - time.monotonic())
    if isinstance(solution, str):
        return Answer(solution)
    pixels = (planes.box.lower + planes.box.upper) / 2
    pixels[planes.movable] = torch.from_numpy(solution[values])
    return Answer("point", pixels.clamp(*planes.box))


def _add_bright(programme: "_Programme", opposition: Opposition, values: Columns) -> Columns:
    """Adds the undecided pixels of the bright map; returns their columns (Y,)."""
    planes = opposition.planes
    bright = programme.variables(Interval(*(bound[planes.undecided] for bound in planes.bright)))
    padded = np.append(values, -1)
    may_win = _may_win(planes.responses, planes.leads)
    lead = planes.leads.amax(dim=2)
    for y, kernels in enumerate(may_win):
        columns, inside = padded[planes.places[y]], planes.places[y] < len(values)
        response = columns[inside]
        winners = kernels.nonzero()[:, 0]
        chosen = programme.choice(len(winners))
        for k, binary in zip(winners.tolist(), chosen, strict=True):
            slope = planes.slopes[k, inside]
            excess = [(bright[y : y + 1], torch.ones(1)), (response, -slope)]
            programme.at_least(excess, planes.still.lower[y, k])
            room = lead[y, k]
            programme.at_most([*excess, (binary, room[None])], planes.still.upper[y, k] + room)
    return bright


def _may_win(responses: Interval, leads: Tensor) -> Tensor:
    """Returns which kernels may be ahead of all others somewhere in the box, (Y, K + 1)."""
    possible = responses.upper >= responses.lower.amax(dim=1, keepdim=True)
    never_ahead = leads.mT <= 0  # [k, j]: kernel k is nowhere ahead of kernel j
    before = torch.ones(leads.shape[1:]).tril(-1).bool()  # of two that are equal the first stays
    return possible & ~(never_ahead & (~never_ahead.mT | before)).any(dim=2)


def _add_shapes(programme: "_Programme", opposition: Opposition, bright: Columns) -> Columns:
    """Adds the shapes; returns their columns (F,)."""
    shapes = programme.variables(opposition.shapes)
    against = set(opposition.against.tolist())
    for f, possible in enumerate(opposition.possible):
        poses = possible.nonzero()[:, 0].tolist()
        binaries = programme.choice(len(poses)) if f in against else [None] * len(poses)
        for p, binary in zip(poses, binaries, strict=True):
            excess = [(shapes[f : f + 1], torch.ones(1)), (bright, -opposition.templates[f, p])]
            programme.at_least(excess, opposition.decided.lower[f, p])
            if binary is not None:
                room = opposition.shapes.upper[f] - opposition.matches.lower[f, p]
                limit = opposition.decided.upper[f, p] + room
                programme.at_most([*excess, (binary, room[None])], limit)
    return shapes


Terms = list[tuple[Columns, Tensor]]


class _Programme:
    """A mixed-integer programme without an objective, put together piece by piece."""

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

    def solve(self, seconds: float) -> "NDArray[np.float64] | Literal['none', 'open']":
        """Returns a point that keeps all rows, or "none", or "open" when time ran out."""
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
        return "none" if found.status == _INFEASIBLE else "open"

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
