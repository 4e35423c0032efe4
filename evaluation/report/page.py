"""The parts of a page: sections of Markdown, and figures that know what they were drawn from."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MINUS = "−"  # noqa: RUF001 (no hyphen)
NOTHING = "–"  # noqa: RUF001 (an empty cell of a table)


@dataclass(frozen=True)
class Figure:
    """A figure, drawn only when it is asked for.

    Attributes:
        file: Its name; the ending says how it is stored.
        words: What there is to see, for those who cannot.
        data: Plain JSON values, all that the figure depends on.
        draw: Turns the data into the bytes of the file, the source among them.
    """

    file: str
    words: str
    data: Any
    draw: Callable[[Any, str], bytes] = field(compare=False)

    @property
    def source(self) -> str:
        """The digest of the data, kept inside the file: a figure of other data is told by it."""
        text = json.dumps([self.file, self.data])
        return "data-sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def content(self) -> bytes:
        """Draws it."""
        return self.draw(self.data, self.source)


@dataclass(frozen=True)
class Section:
    """A heading, and below it paragraphs, tables and figures in their order."""

    title: str
    parts: Sequence[str | Figure]

    @property
    def figures(self) -> list[Figure]:
        """The figures among the parts."""
        return [part for part in self.parts if isinstance(part, Figure)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = ()) -> str:
    """Returns a table in Markdown, aligned to the right but for the first column and those of `words`."""
    ruler = ["---" if name in (head[0], *words) else "---:" for name in head]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, ruler, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def percent(share: float | None) -> str:
    """Returns 0.9953 as 99.53%, and nothing as a dash."""
    return NOTHING if share is None else f"{100 * share:.2f}%"


def points(difference: float) -> str:
    """Returns a difference of shares in percentage points, with its sign."""
    return f"{signed(100 * difference, 2)} points"


def signed(value: float, digits: int) -> str:
    """Returns a number with its sign, minus as minus; what rounds to zero has none."""
    rounded = round(value, digits)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def number(value: float, digits: int | None = None) -> str:
    """Returns a number, as short as it is exact or with some digits, minus as minus."""
    return (f"{value:g}" if digits is None else f"{value:.{digits}f}").replace("-", MINUS)


def left_out(what: str, commands: Sequence[str]) -> str:
    """Returns the one line that stands for what is missing."""
    return f"*Left out: {what}. Make it with* " + ", ".join(f"`{command}`" for command in commands) + "*.*"


def names_of(what: str, names: Iterable[str]) -> str:
    """Returns "WHAT of A, B": the alternative text of a figure."""
    return f"{what} of {', '.join(names)}"


def plain(value: Any) -> str:  # noqa: ANN401 (whatever JSON holds)
    """Returns words as they are, numbers short, lists and mappings as words with commas."""
    if value is None:
        return NOTHING
    if isinstance(value, list):
        return ", ".join(plain(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {plain(one)}" for key, one in value.items())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value)
