"""A card as a table and lines."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

Card = Mapping[str, Any]


def card_table(card: Card) -> Table:
    """Returns the card's accuracies; the points of its curves are in the file only."""
    count = card["data"]["count"]
    table = Table(title=f"{card['model']}, {card['data']['source']}")
    for column in ("", "accuracy", "images", "core seconds"):
        table.add_column(column, justify="right" if column else "left")
    for name, share, withstood, seconds in _rows(card, count):
        shown = "" if seconds is None else f"{seconds:.1f}"
        table.add_row(name, f"{share:.2%}", withstood, shown)
    return table


def check_lines(card: Card) -> Iterator[str]:
    """Yields a line a check for masked gradients, and the reliability if it was measured."""
    for check in card.get("checks", []):
        yield f"{'pass' if check['passed'] else 'FAIL'}  {check['name']}: {check['detail']}"
    precision = card.get("reliability", {}).get("precision_at_80_recall")
    if precision is not None:
        yield f"Precision at 80% recall under PGD-40: {precision:.2%}"


_Row = tuple[str, float, str, float | None]


def _rows(card: Card, count: int) -> Iterator[_Row]:
    if "clean" in card:
        yield "clean", card["clean"]["accuracy"], f"{card['clean']['correct']}/{count}", None
    for attack in card.get("attacks", []):
        withstood = f"{attack['withstood']}/{attack['count']}"
        yield attack["name"], attack["robust_accuracy"], withstood, attack["seconds"]
    if "worst_case" in card:
        worst = card["worst_case"]
        name = f"worst case, {worst['epsilon']:g}"
        yield name, worst["robust_accuracy"], f"{worst['withstood']}/{count}", None
    for one in card.get("certified", []):
        name = f"certified, {one['epsilon']:g}" + (" (exact)" if one["bound"] == "exact" else "")
        seconds = one["milliseconds_an_image"] * count / 1000
        yield name, one["certified_accuracy"], f"{one['certified']}/{count}", seconds
    if "corruptions" in card:
        spoilt = card["corruptions"]
        for one in [{"name": "clean", "accuracy": spoilt["clean"]}, *spoilt["rows"]]:
            right = round(one["accuracy"] * spoilt["count"])
            yield one["name"], one["accuracy"], f"{right}/{spoilt['count']}", None
        yield "mean of MNIST-C", spoilt["mnist_c_mean"], "", None
    if "other_norms" in card:
        yield from _other_norms(card["other_norms"])


def _other_norms(found: Card) -> Iterator[_Row]:
    for row in found["rows"]:
        for one in row["accuracy"]:
            right = round(one["accuracy"] * found["count"])
            yield f"{row['norm']}, {one['radius']:g}", one["accuracy"], f"{right}/{found['count']}", None
