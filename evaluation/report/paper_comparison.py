"""What was claimed or asked beforehand, with what was reached beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

from evaluation.report.cards import (
    MAIN,
    Card,
    Cards,
    certified,
    is_partial,
    precision_at_80_recall,
    ran_whole_suite,
    withstood,
    worst_case,
)
from evaluation.report.page import NOTHING, Section, left_out, number, percent, points, signed, table
from evaluation.report.training_tables import seed_values


@dataclass(frozen=True)
class PublishedResult:
    """An accuracy that Satkiewicz 2024 (arXiv 2403.09863v5) states.

    Attributes:
        words: What was measured.
        paper: The paper's number, as precise as it is given there.
        weights: What this project measured on the paper's published weights.
        ours: Reads the same number from a card.
        column: The same number in the table of seeds.
    """

    words: str
    paper: float | None
    weights: float | None
    ours: Callable[[Card], float | None]
    column: str


PUBLISHED_RESULTS = (
    PublishedResult("clean test accuracy", 0.995, 0.9953, lambda card: card["clean"]["accuracy"], "clean"),
    PublishedResult("L-inf 0.3, 40-step PGD", 0.92, None, lambda card: withstood(card, "pgd-40"), "pgd-40"),
    PublishedResult(
        "L-inf 0.3, APGD-CE, 100 steps", None, 0.921, lambda card: withstood(card, "apgd-ce"), "apgd-ce"
    ),
    PublishedResult("L-inf 0.3, AutoAttack", 0.92, None, lambda card: withstood(card, "auto"), "auto"),
    PublishedResult("L-inf 0.3, worst of all our attacks", None, None, worst_case, "worst attack"),
    PublishedResult(
        "reliability: precision at 80% recall under 40-step PGD",
        0.98,
        None,
        precision_at_80_recall,
        "precision at 80% recall",
    ),
)
_PAPERS_SIZE = 4828
_PAPERS_THRESHOLDS = (0.365, 0.556)
_PAPERS_OWN, _PAPERS_OTHERS = 1.07, -0.8


@dataclass(frozen=True)
class Goal:
    """A number that was to be reached, at least or at most."""

    card: str
    words: str
    reached: Callable[[Card], float | None]
    asked: float
    at_most: bool = False
    shown: Callable[[float], str] = percent

    def row(self, card: Card | None) -> list[str]:
        """Returns the goal's row in the table."""
        reached = None if card is None else self.reached(card)
        asked = f"{'≤' if self.at_most else '≥'} {self.shown(self.asked)}"
        if reached is None:
            return [self.card, self.words, asked, NOTHING, "not measured"]
        if card is not None and is_partial(card):
            return [self.card, self.words, asked, self.shown(reached), "not on all images"]
        met = reached <= self.asked if self.at_most else reached >= self.asked
        if met and self.reached is worst_case and card is not None and not ran_whole_suite(card):
            return [self.card, self.words, asked, self.shown(reached), "not under all attacks"]
        return [self.card, self.words, asked, self.shown(reached), "yes" if met else "**no**"]


def _goals(card: str, clean: float, worst: float | None, proved: float | None, size: int) -> list[Goal]:
    goals = [Goal(card, "clean", lambda c: c["clean"]["accuracy"], clean)]
    if worst is not None:
        goals.append(Goal(card, "worst attack, 0.3", worst_case, worst))
    if proved is not None:
        goals.append(Goal(card, "proved, 0.3", lambda c: certified(c, 0.3), proved))
    return [*goals, Goal(card, "parameters", lambda c: c["num_parameters"], size, True, _count)]


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _minutes(number: float) -> str:
    return f"{number:.1f} min"


def _evaluation_minutes(card: Card) -> float | None:
    return card["seconds"] / 60 if "seconds" in card else None


GOALS = (
    *_goals(MAIN, 0.994, 0.92, None, 4828),
    Goal(MAIN, "precision at 80% recall, PGD-40", precision_at_80_recall, 0.98),
    Goal(MAIN, "whole evaluation, 2 cores", _evaluation_minutes, 30, True, _minutes),
    *_goals("mnist-3v5-certified", 0.993, 0.972, 0.97, 4828),
    *_goals("mnist-10", 0.975, None, None, 30_000),
    *_goals("mnist-10-certified", 0.975, 0.92, 0.91, 30_000),
)


def goals(cards: Cards) -> Section:
    """What was to be reached, and whether it was."""
    return Section(
        "Goals, set before the work",
        [
            table(
                ["network", "what", "goal", "reached", "met"],
                [goal.row(cards.models.get(goal.card)) for goal in GOALS],
                words=("what",),
            )
        ],
    )


def paper(cards: Cards) -> Section:
    """Every number of the paper, ours beside it, and the difference."""
    title = "The paper's numbers and ours"
    card = cards.models.get(MAIN)
    if card is None:
        return Section(title, [left_out(f"no card {MAIN}.json", [cards.command(MAIN)])])
    seeds = cards.seeds().get(MAIN, {})
    columns = seed_values(seeds) if seeds else {}
    averaged = f"mean of {len(seeds)} seeds" if seeds else "mean of seeds"
    digits = f"; **{card['data']['count']} images only**" if is_partial(card) else ""
    rows = [
        ["parameters", "4.8K", _count(_PAPERS_SIZE), _count(card["num_parameters"]),
         signed(card["num_parameters"] - _PAPERS_SIZE, 0), NOTHING],
        *[_row(published, card, columns) for published in PUBLISHED_RESULTS],
    ]  # fmt: skip
    parts = [
        "Satkiewicz 2024, [arXiv 2403.09863](https://arxiv.org/abs/2403.09863), v5, and `mnist-3v5` "
        f"(seed {card.get('seed', NOTHING)}{digits}). *Its weights*: what we measured on the weights "
        "published with it. The difference is to the paper's number, or to its weights' where the paper has "
        "none; the paper rounds to whole or half percents.",
        table(["", "paper", "its weights", "ours", "difference", averaged], rows),
        *_learned(cards),
    ]
    return Section(title, parts)


def _row(published: PublishedResult, card: Card, columns: dict[str, list[float]]) -> list[str]:
    ours = published.ours(card)
    claimed = published.paper if published.paper is not None else published.weights
    difference = NOTHING
    if ours is not None and claimed is not None:
        word = "" if round(ours - claimed, 4) == 0 else ", better" if ours > claimed else ", **worse**"
        difference = points(ours - claimed) + word
    of_seeds = percent(mean(columns[published.column])) if published.column in columns else NOTHING
    stated = NOTHING if published.paper is None else f"{100 * published.paper:g}%"
    return [published.words, stated, percent(published.weights), percent(ours), difference, of_seeds]


def _learned(cards: Cards) -> list[str]:
    """Returns the comparison of what the layers learned."""
    introspection = cards.introspections.get(MAIN)
    if introspection is None:
        return [left_out(f"what the layers learned, no {MAIN}.inside.json", [cards.introspect_command(MAIN)])]
    thresholds = introspection["two_step"]["after"]["thresholds"]
    own, others = own_and_others(introspection)
    compared = [
        *zip(
            ("two-step layer, lower threshold", "two-step layer, upper threshold"),
            _PAPERS_THRESHOLDS,
            thresholds,
            strict=True,
        ),
        ("logical layer, weight of an own shape, mean", _PAPERS_OWN, own),
        ("logical layer, weight of another's shape, mean", _PAPERS_OTHERS, others),
    ]
    rows = [
        [words, number(theirs), number(ours, 3), signed(ours - theirs, 3)] for words, theirs, ours in compared
    ]
    return ["What the layers learned:", table(["", "paper", "ours", "difference"], rows)]


def own_and_others(introspection: Card) -> tuple[float, float]:
    """Returns the mean weight that the logical rows give to own shapes and to those of others."""
    size = introspection["config"]["shapes_per_class"]
    own, others = [], []
    for c, row in enumerate(introspection["rows"]):
        own.append(row[c * size])  # the one-hot block is zero but for its first place
        others += row[: c * size] + row[(c + 1) * size :]
    return mean(own), mean(others)
