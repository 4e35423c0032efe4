"""Which components make one sign, and in which order signs are read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A piece of a sign (the bar of a 5) is at most this far from it, as a share of its size, and has this much of
# its area and its size.
_NEAR, _PIECE_AREA, _PIECE_SIDE = 0.2, 0.012, 0.08
# Two components above each other are one sign if this share of their size or less is between them.
_STACKED = 0.3

Rows = NDArray[np.int32]  # of components: left, top, width, height, area


def joined(large: Sequence[int], rows: Rows) -> list[list[int]]:
    """Joins components that stand above each other, closely: a digit that the pen left in between."""
    groups: list[list[int]] = []
    for label in sorted(large, key=lambda label: -rows[label, 4]):
        home = next((group for group in groups if _above_each_other(rows[group[0]], rows[label])), None)
        if home is None:
            groups.append([label])
        else:
            home.append(label)
    return groups


def _above_each_other(one: Rows, other: Rows) -> bool:
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    _, down = _gaps(one, other)
    return bool(across > 0.3 * min(one[2], other[2]) and down < _STACKED * max(one[2:4]))


def _gaps(one: Rows, other: Rows) -> tuple[int, int]:
    """Returns how far two boxes are apart across and down, 0 where they overlap."""
    across = max(other[0] - one[0] - one[2], one[0] - other[0] - other[2], 0)
    down = max(other[1] - one[1] - one[3], one[1] - other[1] - other[3], 0)
    return int(across), int(down)


def with_pieces(groups: list[list[int]], rows: Rows, usable: NDArray[np.intp]) -> list[list[int]]:
    """Gives each small component that is near enough to the sign that it is nearest to."""
    taken = {label for group in groups for label in group}
    heads = [rows[group[0]] for group in groups]
    for label in usable:
        if label in taken:
            continue
        distances = [np.hypot(*_gaps(head, rows[label])) / max(head[2:4]) for head in heads]
        nearest = int(np.argmin(distances))
        head = heads[nearest]
        large_enough = rows[label, 4] >= _PIECE_AREA * head[4]
        long_enough = max(rows[label, 2:4]) >= _PIECE_SIDE * max(head[2:4])
        if distances[nearest] < _NEAR and large_enough and long_enough:
            groups[nearest].append(int(label))
    return groups


def in_reading_order(groups: list[list[int]], rows: Rows) -> list[list[int]]:
    """Orders by line, then from left to right; a line is what overlaps in height by a third, one by one."""
    waiting = sorted(groups, key=lambda group: int(rows[group[0], 1]))
    ordered: list[list[int]] = []
    while waiting:
        line = [waiting.pop(0)]
        for member in line:  # grows while it is read
            beside = [group for group in waiting if _in_one_line(rows[member[0]], rows[group[0]])]
            line += beside
            waiting = [group for group in waiting if group not in beside]
        ordered += sorted(line, key=lambda group: int(rows[group[0], 0]))
    return ordered


def _in_one_line(one: Rows, other: Rows) -> bool:
    overlap = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return bool(overlap > min(one[3], other[3]) / 3)
