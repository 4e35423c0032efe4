"""Images and signed maps in a terminal: half blocks of colour, or characters where there is no colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement, measure_renderables
from rich.style import Style
from rich.table import Table
from rich.text import Text

# As in model.explanation_figure, a little lighter: they have to be read on black and on white.
FOR, AGAINST = (64, 136, 232), (230, 126, 26)

_SHADES = (" ░▒▓█", " .:*#")
_SPEAKS_FOR, _SPEAKS_AGAINST = "+", "-"
_STRONG = 0.25  # of the largest: from there on a character shows a sign
_NARROWEST = 8
_GAP = 2


def has_colours(console: Console) -> bool:
    """Tells whether colours are shown, not as in a pipe or with NO_COLOR."""
    return console.color_system is not None and not console.no_color


def writes_unicode(console: Console) -> bool:
    """Tells whether blocks and signs can be written."""
    return console.encoding.startswith("utf")


@dataclass(frozen=True)
class Pixels:
    """A map under a title, two pixels a character, shrunk where there is less room.

    Attributes:
        title: What it is.
        values: (H, W) in [0, 1], from black to white; signed: any numbers, blue for and orange against.
        signed: Whether the sign matters.
    """

    title: str
    values: NDArray[Any]
    signed: bool = False

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Says how wide it is, and may be made."""
        width = max(self.values.shape[1], *map(len, self.title.split()))
        return Measurement(min(_NARROWEST, width), width).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws it."""
        yield Text(self.title, style="dim")
        shown = _fitted(self.values, options.max_width)
        if self.signed:
            shown = shown / max(float(np.abs(shown).max()), 1e-9)
        pairs = _pairs(shown)
        lines = _coloured(pairs, self.signed) if has_colours(console) else self._written(console, pairs)
        for line in lines:
            line.no_wrap = True
            yield line

    def _written(self, console: Console, pairs: NDArray[Any]) -> list[Text]:
        if self.signed:
            strongest = np.where(np.abs(pairs[:, 0]) >= np.abs(pairs[:, 1]), pairs[:, 0], pairs[:, 1])
            return [Text("".join(map(_sign, row))) for row in strongest]
        shades = _SHADES[0 if writes_unicode(console) else 1]
        steps = np.rint(pairs.mean(axis=1).clip(0, 1) * (len(shades) - 1)).astype(int)
        return [Text("".join(shades[step] for step in row)) for row in steps]


@dataclass(frozen=True)
class Row:
    """Maps of one size side by side, all shrunk alike where there is less room."""

    pictures: Sequence[Pixels]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws them."""
        count = len(self.pictures)
        room = (options.max_width - _GAP * (count - 1)) // count
        row = Table.grid(padding=(0, _GAP, 0, 0))
        for picture in self.pictures:
            row.add_column(width=min(room, measure_renderables(console, options, [picture]).maximum))
        row.add_row(*self.pictures)
        yield row


def _sign(value: float) -> str:
    if abs(value) < _STRONG:
        return "."
    return _SPEAKS_FOR if value > 0 else _SPEAKS_AGAINST


def _fitted(values: NDArray[Any], width: int) -> NDArray[Any]:
    """Returns a map that is no wider, its pixels averaged where it was."""
    floats = np.asarray(values, np.float32)
    height, wide = floats.shape
    if wide <= width:
        return floats
    return np.asarray(
        cv2.resize(floats, (width, max(1, round(height * width / wide))), interpolation=cv2.INTER_AREA)
    )


def _pairs(values: NDArray[Any]) -> NDArray[Any]:
    """Returns (lines, 2, W): the upper and the lower pixels of each line of text."""
    even = np.pad(values, ((0, len(values) % 2), (0, 0)))
    return even.reshape(-1, 2, even.shape[1])


def _coloured(pairs: NDArray[Any], signed: bool) -> list[Text]:
    lines = []
    for upper, lower in _rgb(pairs, signed).astype(int):
        line = Text()
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            line.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        lines.append(line)
    return lines


def _rgb(values: NDArray[Any], signed: bool) -> NDArray[Any]:
    """Returns the colours (..., 3) of values, in 0..255."""
    strength = np.abs(values).clip(0, 1)[..., None]
    if not signed:
        return np.repeat(values.clip(0, 1)[..., None] * 255, 3, axis=-1)
    colours: NDArray[Any] = strength * np.where(values[..., None] > 0, FOR, AGAINST)
    return colours
