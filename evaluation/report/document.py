"""The whole page: put together, written, or held against what is on disk.

whitebox report            writes docs/RESULTS.md and docs/results/pictures/
whitebox report --check    tells whether they are what the cards give
"""

import os
from dataclasses import dataclass
from pathlib import Path

from evaluation.report import accuracy_figures, network_figures, paper_comparison, provenance, tables
from evaluation.report.cards import Cards, read_cards
from evaluation.report.page import Figure, Section
from model.package import write_atomically

_SECTIONS = (
    network_figures.explanation,
    paper_comparison.goals,
    tables.models,
    paper_comparison.paper,
    tables.attacks,
    tables.seeds,
    accuracy_figures.proved,
    accuracy_figures.by_epsilon,
    accuracy_figures.reliability,
    tables.checks,
    tables.beyond_ball,
    network_figures.two_step,
    network_figures.kernels,
    network_figures.bases,
    network_figures.poses,
    network_figures.logical_rows,
    network_figures.layers,
    network_figures.nearest_mistakes,
    network_figures.fallen,
    accuracy_figures.learning,
    tables.training_log,
    provenance.robustbench,
    provenance.provenance,
)
# They compare the project's own networks with what was asked of these.
_OF_THE_PROJECT = (paper_comparison.goals, paper_comparison.paper, tables.training_log)
_FIGURES_DIRECTORY = "pictures"


@dataclass(frozen=True)
class Report:
    """A page that has been put together but not drawn.

    Attributes:
        page: Where its text belongs.
        text: The whole text.
        figures: What it shows.
        figures_directory: Where its figures belong; they are all that is in there.
    """

    page: Path
    text: str
    figures: list[Figure]
    figures_directory: Path

    def write(self) -> None:
        """Writes text and figures, and removes figures that the page no longer shows."""
        self.figures_directory.mkdir(parents=True, exist_ok=True)
        for figure in self.figures:
            write_atomically(self.figures_directory / figure.file, figure.content())
        for path in self._strangers():
            path.unlink()
        self.page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.page, self.text.encode())

    def out_of_date(self) -> list[Path]:
        """Returns the files on disk that are not what the cards give."""
        stale = [] if _text_of(self.page) == self.text else [self.page]
        for figure in self.figures:
            path = self.figures_directory / figure.file
            if not path.exists() or figure.source.encode() not in path.read_bytes():
                stale.append(path)
        return [*stale, *self._strangers()]

    def _strangers(self) -> list[Path]:
        known = {figure.file for figure in self.figures}
        return sorted(path for path in self.figures_directory.glob("*") if path.name not in known)


def make_report(cards_directory: Path, page: Path) -> Report:
    """Puts the page together from all cards of a directory.

    Raises:
        CardError: A card cannot be read.
    """
    cards = read_cards(cards_directory)
    figures_directory = cards_directory.parent / _FIGURES_DIRECTORY
    left_out = _OF_THE_PROJECT if cards.of_others else ()
    made = [section(cards) for section in _SECTIONS if section not in left_out]
    sections = [section for section in made if section.parts]
    place = Path(os.path.relpath(figures_directory, page.parent)).as_posix()
    contents = " · ".join(f"[{section.title}](#{_anchor(section.title)})" for section in sections)
    parts = [_heading(cards, page), contents, *(_markdown(section, place) for section in sections)]
    figures = [figure for section in sections for figure in section.figures]
    return Report(page, "\n\n".join(parts) + "\n", figures, figures_directory)


def _heading(cards: Cards, page: Path) -> str:
    place = Path(os.path.relpath(cards.directory, page.parent)).as_posix()
    return (
        "# Results\n\n"
        f"Made by `whitebox report` from the [cards](report.md) in `{place}` alone; do not edit. A card "
        "holds what was measured of one network, with images, settings, code and machine; the commands "
        "stand [at the end](#how-it-was-measured). `whitebox report --check` tells whether this page "
        "is what the cards give."
    )


def _markdown(section: Section, figures_path: str) -> str:
    parts = [
        f"![{part.words}]({figures_path}/{part.file})" if isinstance(part, Figure) else part
        for part in section.parts
    ]
    return "\n\n".join([f"## {section.title}", *filter(None, parts)])


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


def _text_of(path: Path) -> str | None:
    return path.read_text() if path.exists() else None
