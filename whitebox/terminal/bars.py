"""Bars in a terminal: their signs and sizes can be told apart without colour, and each has its number."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.style import Style
from rich.text import Text

from model.explanation_figure import Addend, signed_number
from whitebox.terminal.pixels import AGAINST, FOR, writes_unicode

_BLUE, _ORANGE = (Style(color=Color.from_rgb(*colour)) for colour in (FOR, AGAINST))
_BAR = 24
_EIGHTHS = "▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Shares:
    """A bar for each share of a whole; that of the answer is bold.

    Attributes:
        shares: By name.
        answer: One of the names.
    """

    shares: dict[str, float]
    answer: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Says how wide it is."""
        width = self._name_width() + _BAR + 9
        return Measurement(width, width).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws them."""
        for name, share in self.shares.items():
            line = Text(f"{name:>{self._name_width()}} ", style="bold" if name == self.answer else "")
            line.append(f"{_bar(share, _BAR, console):<{_BAR}}", _BLUE)
            line.append(f" {share:.4f}")
            line.no_wrap = True
            yield line

    def _name_width(self) -> int:
        return max(map(len, self.shares))


@dataclass(frozen=True)
class Claims:
    """What adds up to the logit of a class: bars to the right for it, to the left against it, and the sum.

    Attributes:
        label: The class.
        addends: What is added.
        largest: The size of a bar that takes half of the room.
    """

    label: str
    addends: Sequence[Addend]
    largest: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws them."""
        yield Text(f"what adds up to the logit of {self.label}", style="bold")
        width = max(len(each.name) for each in self.addends)
        for addend in self.addends:
            line = Text(f"  {addend.name:<{width}} {signed_number(addend.value, 3):>8} ")
            line.append_text(self._bar(addend.value, console))
            line.rstrip()
            line.no_wrap = True
            yield line
        total = sum(each.value for each in self.addends)
        yield Text(f"  {f'sum = logit of {self.label}':<{width}} {signed_number(total, 3):>8}", style="bold")

    def _bar(self, value: float, console: Console) -> Text:
        half = _BAR // 2
        size = abs(value) / self.largest
        axis, against = ("│", "▒") if writes_unicode(console) else ("|", "-")
        if value > 0:
            return Text.assemble(" " * half + axis, (_bar(size, half, console), _BLUE))
        return Text.assemble((f"{against * max(1, round(size * half)):>{half}}", _ORANGE), axis)


def _bar(share: float, width: int, console: Console) -> str:
    """Returns a bar of a share of the width, to an eighth of a character; what is there at all is seen."""
    if not writes_unicode(console):
        return "#" * round(share * width)
    whole, rest = divmod(round(share * width * 8), 8)
    return "█" * whole + (_EIGHTHS[rest - 1] if rest else "")
