"""The composed figure of an explanation as PNG: the SVG, drawn by resvg.

As a program it reads SVG from standard input and writes PNG to standard output. resvg takes 0.3 s and holds
Python's lock all the while, so the service draws in a process of its own and goes on answering.
"""

import subprocess
import sys
from pathlib import Path

import resvg_py

_FONTS = Path(__file__).with_name("fonts")
# What Inter's Latin part, which comes with us, has no letters for is looked for among the system's fonts.
_LAST_LATIN = "\u024f"
_SCALE = 2  # pixels a unit of the figure


def figure_png(svg: str) -> bytes:
    """Draws a figure; the same everywhere, as long as its labels are Latin."""
    letters = svg.replace("\N{MINUS SIGN}", "-")
    return resvg_py.svg_to_bytes(
        svg_string=svg,
        zoom=_SCALE,
        font_files=[str(path) for path in sorted(_FONTS.glob("*.ttf"))],
        sans_serif_family="Inter",
        font_family="Inter",
        skip_system_fonts=max(letters) <= _LAST_LATIN,
    )


def figure_png_elsewhere(svg: str, seconds: float) -> bytes:
    """Draws a figure in a process of its own.

    Raises:
        TimeoutError: It took longer.
    """
    command = [sys.executable, "-P", "-m", "service.codecs.figure_png"]
    try:
        drawn = subprocess.run(
            command, input=svg.encode(), stdout=subprocess.PIPE, timeout=seconds, check=True
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return drawn.stdout


def is_figure_file(path: Path) -> bool:
    """Tells whether a file's name ends as one does that a figure can be written to."""
    return path.suffix.lower() in (".svg", ".png")


def save_figure(svg: str, path: Path) -> None:
    """Writes a figure as the ending of a file's name says.

    Raises:
        ValueError: It is neither .svg nor .png.
    """
    if not is_figure_file(path):
        raise ValueError(f"A figure is written as .svg or .png, not as {path.name}.")
    path.write_bytes(figure_png(svg) if path.suffix.lower() == ".png" else svg.encode())


if __name__ == "__main__":
    sys.stdout.buffer.write(figure_png(sys.stdin.buffer.read().decode()))
