"""One explanation as one picture: an SVG of the layers from left to right, and the sums that are the logits.

Drawn from the outputs of explain.onnx alone, so that the service, the command line and the report show the
same. Signs can be told apart without colour: what speaks for a class is solid, what speaks against hatched.
"""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

_FOR, _AGAINST, _INK, _FAINT = "#1f5fbf", "#d9730d", "#1a1a1a", "#8a8a8a"
_PANEL, _GAP, _MARGIN = 148, 22, 24
_LEVELS = 12  # shades of a map
_BAR, _LABEL, _BARS = 17, 150, 620
_MAX_BARS = 9  # the shapes beyond are added up in one bar
_LEAST = 5e-4  # less is shown as 0.000


class Addend(NamedTuple):
    """A part of a logit."""

    name: str
    value: float


def explanation_figure(
    image: Array, trace: Mapping[str, Array], labels: Sequence[object], shapes_per_class: int
) -> str:
    """Draws the explanation of one image.

    Args:
        image: (H, W) in [0, 1].
        trace: Of this image, by the names of `model.frozen.Trace`: `two_step` and `bright` (H, W),
            `templates` (shapes, H, W), `contributions` (classes, shapes) and `logits` (classes,).
        labels: What each logit stands for.
        shapes_per_class: Consecutive shapes that belong to one class.

    Returns:
        An SVG document; its title is the sentence of `explanation_sentence`.
    """
    best = best_two(trace["logits"])
    panels = _maps(image, trace) + _best_shapes(image, trace, best, labels)
    sentence = explanation_sentence(trace, labels)
    width = 2 * _MARGIN + len(panels) * (_PANEL + _GAP) - _GAP
    top = _MARGIN + 44
    body = [_text(_MARGIN, _MARGIN + 12, sentence, size=16, weight="bold")]
    for number, (title, drawing) in enumerate(panels):
        body.append(_panel(_MARGIN + number * (_PANEL + _GAP), top, title, drawing, image.shape))
    top += _PANEL + 22
    body.append(_legend(width, top))
    top += 40
    lists = [addends_of(trace["contributions"][index], labels, shapes_per_class) for index in best]
    bars = _Waterfall(lists)
    for index, addends in zip(best, lists, strict=True):
        drawing, height = bars.draw(addends, labels[index])
        body.append(f'<g transform="translate({_MARGIN} {top})">{drawing}</g>')
        top += height + 26
    return _document(width, top, sentence, body)


def _maps(image: Array, trace: Mapping[str, Array]) -> list[tuple[str, str]]:
    """Returns the titles and drawings of the maps that the layers make."""
    return [
        ("what the network saw", _shades(image, _INK)),
        ("two-step map", _shades((trace["two_step"] + 1) / 2, _INK)),
        ("bright map", _shades(trace["bright"] / max(float(trace["bright"].max()), 1e-9), _INK)),
    ]


def _best_shapes(
    image: Array,
    trace: Mapping[str, Array],
    classes: Sequence[int],
    labels: Sequence[object],
) -> list[tuple[str, str]]:
    """Returns titles and drawings of the shapes that add most to classes, laid over the ink."""
    ink = _shades(image, "#bdbdbd")
    shapes = [_best_shape(trace, index) for index in classes]
    return [
        (f"best shape of {labels[index]}", ink + _signed(trace["templates"][shape]))
        for index, shape in zip(classes, shapes, strict=True)
    ]


def explanation_sentence(trace: Mapping[str, Array], labels: Sequence[object]) -> str:
    """Returns the explanation in words: the answer, its best shape, and what the runner-up has."""
    answer, other = best_two(trace["logits"])
    own, rival = (_best_shape(trace, index) for index in (answer, other))
    logits, found = trace["logits"], trace["contributions"]
    for_answer, for_other = signed_number(found[answer, own], 2), signed_number(found[other, rival], 2)
    return (
        f"{labels[answer]}, not {labels[other]}: shape {own} adds {for_answer} to a logit of "
        f"{signed_number(logits[answer], 2)}; of {labels[other]}, shape {rival} adds {for_other} to "
        f"{signed_number(logits[other], 2)}"
    )


def signed_number(value: float, digits: int) -> str:
    """Returns a number with its sign, minus as minus."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def best_two(logits: Array) -> tuple[int, int]:
    """Returns the classes of the largest logit and of the next."""
    second, first = np.argsort(logits)[-2:].tolist()
    return first, second


def _best_shape(trace: Mapping[str, Array], index: int) -> int:
    """Returns the shape that adds most to a class: its best own one, where own shapes carry the claims.

    A certified network may rest on the shapes of other classes, and its own ones may all be silent.
    """
    return int(trace["contributions"][index].argmax())


def _shades(values: Array, colour: str) -> str:
    """Draws a map in [0, 1], one path for every shade."""
    levels = np.rint(values.clip(0, 1) * _LEVELS).astype(int)
    paths = [
        f'<path fill="{colour}" fill-opacity="{level / _LEVELS:.3f}" d="{_runs(levels == level)}"/>'
        for level in range(1, _LEVELS + 1)
        if (levels == level).any()
    ]
    return "".join(paths)


def _signed(template: Array) -> str:
    """Draws the strong parts of a shape: solid where ink speaks for it, hatched where against."""
    strength = template / max(float(np.abs(template).max()), 1e-9)
    paths = ""
    for sign, fill in ((1, _FOR), (-1, "url(#against)")):
        for low, opacity in ((0.2, 0.35), (0.45, 0.45)):
            runs = _runs(sign * strength > low)
            paths += f'<path fill="{fill}" fill-opacity="{opacity}" d="{runs}"/>' if runs else ""
    return paths


def _runs(mask: NDArray[np.bool_]) -> str:
    """Returns the path of a mask: a rectangle for each run of pixels in a row."""
    parts = []
    for row, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        parts += [f"M{a} {row}h{b - a}v1h{a - b}z" for a, b in edges.reshape(-1, 2).tolist()]
    return "".join(parts)


def _panel(left: int, top: int, title: str, drawing: str, shape: tuple[int, ...]) -> str:
    height, width = shape
    scale = _PANEL / max(height, width)
    place = f"translate({left} {top}) scale({scale:.4f})"
    return (
        _text(left, top - 8, title, size=12, colour=_FAINT)
        + f'<rect x="{left}" y="{top}" width="{_PANEL}" height="{_PANEL}" fill="#fff" stroke="#ccc"/>'
        + f'<g transform="{place}" shape-rendering="crispEdges">{drawing}</g>'
    )


def addends_of(contributions: Array, labels: Sequence[object], shapes_per_class: int) -> list[Addend]:
    """Returns what adds up to a logit: the shapes that add most, the largest first, and the others in one.

    Args:
        contributions: (shapes,) of one class.
        labels: Of all classes.
        shapes_per_class: Consecutive shapes that belong to one class.
    """
    order = np.argsort(-np.abs(contributions), kind="stable")
    shown = [int(shape) for shape in order[:_MAX_BARS] if abs(contributions[shape]) >= _LEAST]
    addends = [
        Addend(f"shape {shape}, of {labels[shape // shapes_per_class]}", float(contributions[shape]))
        for shape in shown
    ]
    rest = order[len(shown) :]
    if abs(together := float(contributions[rest].sum())) >= _LEAST:
        addends.append(Addend(f"{len(rest)} others together", together))
    return addends


class _Waterfall:
    """Draws what adds up to a logit, as bars that begin where the one before ended, on one axis for all.

    Args:
        lists: All that will be drawn.
    """

    def __init__(self, lists: Sequence[Sequence[Addend]]) -> None:
        sums = [0.0, *(total for addends in lists for total in accumulate(one.value for one in addends))]
        self._low, self._scale = min(sums), _BARS / max(max(sums) - min(sums), 1e-9)

    def draw(self, addends: Sequence[Addend], label: object) -> tuple[str, int]:
        """Returns the drawing and its height."""
        start, bottom = 0.0, 12 + len(addends) * _BAR
        parts = [
            _text(0, 0, f"what adds up to the logit of {label}", size=13, weight="bold"),
            f'<path stroke="#ccc" d="M{self._place(0):.1f} 10V{bottom}"/>',
        ]
        for line, addend in enumerate(addends):
            parts.append(self._bar(12 + line * _BAR, addend, start))
            start += addend.value
        total = f"sum = logit of {label}: {signed_number(start, 3)}"
        parts += [
            f'<path stroke="{_INK}" stroke-width="2" d="M{self._place(start):.1f} 10V{bottom + 3}"/>',
            _text(0, bottom + 14, total, size=12, weight="bold"),
        ]
        return "".join(parts), bottom + 22

    def _bar(self, top: int, addend: Addend, start: float) -> str:
        left, right = sorted((self._place(start), self._place(start + addend.value)))
        fill, line = (_FOR, _FOR) if addend.value > 0 else ("url(#against-bar)", _AGAINST)
        return (
            _text(0, top + 11, addend.name, size=11)
            + f'<rect x="{left:.1f}" y="{top + 1}" width="{max(right - left, 1):.1f}" height="{_BAR - 4}" '
            + f'fill="{fill}" stroke="{line}"/>'
            + _text(right + 6, top + 11, signed_number(addend.value, 3), size=11)
        )

    def _place(self, value: float) -> float:
        return _LABEL + (value - self._low) * self._scale


def _legend(width: int, top: int) -> str:
    left = width - _MARGIN - 2 * _PANEL - _GAP
    return (
        f'<rect x="{left}" y="{top - 9}" width="14" height="10" fill="{_FOR}" stroke="{_FOR}"/>'
        + _text(left + 20, top, "speaks for", size=11)
        + f'<rect x="{left + 100}" y="{top - 9}" width="14" height="10" fill="url(#against-bar)" '
        + f'stroke="{_AGAINST}"/>'
        + _text(left + 120, top, "speaks against", size=11)
    )


def _text(left: float, top: float, text: str, size: int, colour: str = _INK, weight: str = "normal") -> str:
    return (
        f'<text x="{left:.1f}" y="{top:.1f}" font-size="{size}" font-weight="{weight}" fill="{colour}">'
        f"{escape(text)}</text>"
    )


def _document(width: int, height: int, title: str, body: Sequence[str]) -> str:
    # The same lines where pixels are units and where units are pixels.
    hatches = _hatch("against", 1.2) + _hatch("against-bar", 6)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" role="img">'
        f"<title>{escape(title)}</title><defs>{hatches}</defs>"
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(body)}</svg>'
    )


def _hatch(name: str, size: float) -> str:
    return (
        f'<pattern id="{name}" width="{size}" height="{size}" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="{size}" height="{size}" fill="#fff"/>'
        f'<rect width="{size / 2}" height="{size}" fill="{_AGAINST}"/></pattern>'
    )
