"""Grids of small images: kernels, shapes, poses, and images as the layers see them.

Black is the lowest value, white the highest; where a value has a sign, the middle grey is zero.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evaluation.report.page import number
from model.explanation_figure import explanation_figure
from model.network import NetworkConfig, WhiteBoxNetwork

Tile = NDArray[np.float64]
"""A small picture, (height, width), from 0 (black) to 1 (white)."""

_FONT = 12
_LINE = 14
_GREYS = 64
_GAP = 4
_PAGE = 900
_MOST_MISTAKES = 10  # in one row
MOST_POSES = 32  # of a shape in one row; more would not fit a page


def kernels(data: Any, source: str) -> bytes:  # noqa: ANN401 (JSON)
    """Draws every kernel in its rotations, 16 a row; data: (kernels, rotations, k, k)."""
    rows, labels = [], []
    for index, kernel in enumerate(_signed_all(data)):
        for start in range(0, len(kernel), 16):
            rows.append(list(kernel[start : start + 16]))
            degrees = [
                round(360 * place / len(kernel)) for place in (start, min(start + 16, len(kernel)) - 1)
            ]
            labels.append(f"kernel {index}\n{degrees[0]}° to {degrees[1]}°")
    side = len(data[0][0])
    return _image_grid(rows, source, _scale(16, side, largest=40 // side), row_labels=labels)


def bases(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws the base of each shape, a row of shapes a class; data: {"bases", "config"}."""
    tiles = [_signed(base) for base in data["bases"]]
    each, labels = data["config"]["shapes_per_class"], data["config"]["labels"]
    rows = [tiles[c * each : (c + 1) * each] for c in range(len(labels))]
    side = data["config"]["shape_size"]
    scale = _scale(each, side, largest=80 // side)
    return _image_grid(rows, source, scale, row_labels=[f"speak\nfor {label}" for label in labels])


def poses(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws every shape in its poses, a row a shape; data: {"shapes", "config"}."""
    posed = _posed(data["shapes"], data["config"])
    shown = np.linspace(0, posed.shape[1] - 1, min(MOST_POSES, posed.shape[1])).round().astype(int)
    rows = [[_signed(pose) for pose in shape[shown]] for shape in posed]
    return _image_grid(rows, source, scale=1, gap=1, row_labels=_shape_names(data["config"]))


def logical_rows(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws the logical rows with their numbers; data: {"rows", "config"}."""
    rows = np.asarray(data["rows"])
    side, config = 4, data["config"]
    largest = np.abs(rows).max()
    # No tile is quite black or white, so that each has an edge on the page.
    tiles = [[np.full((side, side), 0.5 + 0.42 * value / largest) for value in row] for row in rows]
    scale = _scale(rows.shape[1], side, largest=14)
    return _image_grid(
        tiles,
        source,
        scale=scale,
        row_labels=[f"logit of {label}" for label in config["labels"]],
        column_labels=[[str(n) for n in range(rows.shape[1])]],
        captions=[[number(value, 2) if value else "" for value in row] for row in rows]
        if scale > 8
        else None,
    )


def layers(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws each image as each layer sees it; data: {"digits", "shapes", "config"}."""
    posed = _posed(data["shapes"], data["config"])
    rows, labels = [], []
    for digit in data["digits"]:
        answer, other = digit["claims"]
        span = max(np.abs(claim["attribution"]).max() for claim in digit["claims"])
        rows.append(
            [
                np.asarray(digit["image"]),
                (np.asarray(digit["two_step"]) + 1) / 2,
                np.asarray(digit["bright"]) / max(np.max(digit["bright"]), 1e-9),
                *(_signed(posed[claim["shape"], claim["pose"]]) for claim in (answer, other)),
                *(0.5 + 0.5 * np.asarray(claim["attribution"]) / span for claim in (answer, other)),
            ]
        )
        verdict = "right" if answer["label"] == digit["label"] else "WRONG"
        labels.append(
            f"is {digit['label']}, {verdict}\n{answer['label']}: {number(answer['logit'], 2)}\n"
            f"{other['label']}: {number(other['logit'], 2)}"
        )
    columns = ["image", "two-step", "bright map", "shape of\nanswer", "shape of\nrunner-up",
               "pixels add\nto answer", "pixels add\nto runner-up"]  # fmt: skip
    return _image_grid(rows, source, scale=3, row_labels=labels, column_labels=[columns])


def explanation(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws the composed figure of one digit; data: {"digit", "shapes", "config"}."""
    digit, config = data["digit"], data["config"]
    posed = _posed(data["shapes"], config)
    trace = {name: np.asarray(digit[name]) for name in ("two_step", "bright", "contributions", "logits")}
    trace["templates"] = posed[np.arange(len(posed)), digit["pose"]]
    image, each = np.asarray(digit["image"]), config["shapes_per_class"]
    figure = explanation_figure(image, trace, config["labels"], each)
    return figure.replace("<defs>", f"<metadata>{source}</metadata><defs>", 1).encode()


def mistakes(data: Any, source: str) -> bytes:  # noqa: ANN401
    """Draws images above what was changed and the mistake that came of it; data: {"images"}.

    More than ten are drawn in two halves, so that each has room for its label.
    """
    drawn = data["images"]
    each = len(drawn) if len(drawn) <= _MOST_MISTAKES else -(-len(drawn) // 2)
    halves = [drawn[start : start + each] for start in range(0, len(drawn), each)]
    return _image_grid(
        [row for half in halves for row in _before_and_after(half)],
        source,
        scale=_scale(each, len(drawn[0]["image"]), largest=3),
        row_labels=["image", "change", "mistake"] * len(halves),
        column_labels=[[_from_to(one) for one in half] for half in halves],
    )


def _before_and_after(drawn: Sequence[Any]) -> list[list[Tile]]:
    images = [np.asarray(each["image"]) for each in drawn]
    found = [np.asarray(each["mistake"]["image"]) for each in drawn]
    changes = [0.5 + 0.5 * (after - before) for before, after in zip(images, found, strict=True)]
    return [images, changes, found]


def _from_to(each: Any) -> str:  # noqa: ANN401
    mistake = each["mistake"]
    arrow = "\n→" if isinstance(each["label"], str) else " →"  # two words would not fit above an image
    return f"{each['label']}{arrow} {mistake['label']}\nL2 {mistake['l2']:.2f}\nL∞ {mistake['linf']:.2f}"


def _scale(columns: int, side: int, largest: int) -> int:
    """Returns how many pixels a value gets so that a row of tiles is no wider than a page."""
    return max(1, min(largest, (_PAGE // columns - _GAP) // side))


def _posed(shapes: Any, config: dict[str, Any]) -> Tile:  # noqa: ANN401
    """Returns every shape in each of its poses as the affine layer makes them: (F, P, H, W)."""
    layer = WhiteBoxNetwork(NetworkConfig.from_dict(config)).affine
    with torch.no_grad():
        layer.base.copy_(torch.tensor(shapes["bases"]))
        layer.poses.copy_(torch.tensor(shapes["poses"]))
        posed: Tile = np.asarray(layer.expand(), dtype=np.float64)
    return posed


def _shape_names(config: dict[str, Any]) -> list[str]:
    each = config["shapes_per_class"]
    return [f"{label}: {c * each + n}" for c, label in enumerate(config["labels"]) for n in range(each)]


def _signed(values: Any) -> Tile:  # noqa: ANN401
    """Brings values into 0..1 so that zero becomes the middle grey."""
    array = np.asarray(values, dtype=np.float64)
    largest = float(np.abs(array).max())
    return 0.5 + 0.5 * array / max(largest, 1e-9)


def _signed_all(values: Any) -> list[list[Tile]]:  # noqa: ANN401
    return [[_signed(one) for one in group] for group in values]


def _image_grid(
    rows: Sequence[Sequence[Tile]],
    source: str,
    scale: int,
    gap: int = _GAP,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[Sequence[str]] = (),
    captions: Sequence[Sequence[str]] | None = None,
) -> bytes:
    """Lays tiles of one size out in rows, every value a square of `scale` pixels, and labels them.

    Labels of columns stand above the first row; with labels of two halves, above the second half too.
    """
    height, width = (side * scale + gap for side in rows[0][0].shape)
    columns = max(len(row) for row in rows)
    bands = {len(rows) // len(column_labels) * band: labels for band, labels in enumerate(column_labels)}
    tops = _tops(len(rows), height, bands)
    canvas = np.ones((tops[-1] - tops[0] + height - gap, columns * width - gap))
    for top, row in zip(tops, rows, strict=True):
        y = top - tops[0]
        for x, tile in enumerate(row):
            grown = np.kron(tile, np.ones((scale, scale)))
            canvas[y : y + height - gap, x * width : (x + 1) * width - gap] = grown
    longest = max((len(line) for label in row_labels for line in label.split("\n")), default=0)
    left = round(12 + 7.2 * longest)
    across, down = (width - gap) / 2, (height - gap) / 2
    texts = [
        _text((left - 6, top + down), label, "end") for top, label in zip(tops, row_labels, strict=False)
    ]
    texts += [
        _text((left + x * width + across, tops[y] - 5), label, "middle", above=True)
        for y, labels in bands.items()
        for x, label in enumerate(labels)
    ]
    texts += [
        _text((left + x * width + across, tops[y] + down), caption, "middle", colour=_contrast(rows[y][x]))
        for y, row_of in enumerate(captions or ())
        for x, caption in enumerate(row_of)
    ]
    return _svg(canvas, (left, tops[0]), texts, source)


def _tops(rows: int, height: int, bands: Mapping[int, Sequence[str]]) -> list[int]:
    """Returns where each row begins, below the labels that stand above it."""
    tops, end = [], 10
    for y in range(rows):
        lines = max((label.count("\n") + 1 for label in bands.get(y, ())), default=0)
        between = _LINE if y and lines else 0
        tops.append(end + between + _LINE * lines)
        end = tops[-1] + height
    return tops


def _contrast(tile: Tile) -> str:
    return "#ffffff" if tile.mean() < 0.45 else "#000000"


def _text(
    at: tuple[float, float], text: str, anchor: str, above: bool = False, colour: str = "#000000"
) -> str:
    """Draws lines of text about a point, or all of them above it."""
    lines = text.split("\n")
    first = at[1] - (len(lines) - 1) * _LINE / (1 if above else 2) + (0 if above else _FONT * 0.35)
    spans = "".join(
        f'<tspan x="{at[0]:.1f}" y="{first + n * _LINE:.1f}">{escape(line)}</tspan>'
        for n, line in enumerate(lines)
    )
    return f'<text text-anchor="{anchor}" fill="{colour}">{spans}</text>'


def _svg(canvas: Tile, corner: tuple[int, int], texts: Sequence[str], source: str) -> bytes:
    """Lays text, which stays text, about a canvas; pixels are what pixels are in the networks."""
    (left, top), (high, wide) = corner, canvas.shape
    width, height = left + wide + 6, top + high + 6
    picture = base64.b64encode(_png(canvas)).decode()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="{_FONT}">'
        f'<metadata>{source}</metadata><rect width="{width}" height="{height}" fill="#ffffff"/>'
        f'<image x="{left}" y="{top}" width="{wide}" height="{high}" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{picture}"/>{"".join(texts)}</svg>'
    ).encode()


def _png(canvas: Tile) -> bytes:
    """Stores a canvas in few shades of grey: a third of the size, and no difference to be seen."""
    grey = Image.fromarray((canvas * 255).round().astype(np.uint8)).quantize(_GREYS)
    buffer = io.BytesIO()
    grey.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
