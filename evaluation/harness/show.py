"""A card on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def show_card(card: dict[str, Any], console: Console) -> None:
    """Prints the card's numbers and checks; the points of its curves are in the file only."""
    console.print(_table(card))
    for check in card["checks"]:
        mark = "[green]pass[/green]" if check["passed"] else "[bold red]FAIL[/bold red]"
        console.print(f"{mark}  {check['name']}: {check['detail']}", highlight=False)
    reliability = card.get("reliability")
    if reliability and reliability["precision_at_80_recall"] is not None:
        console.print(f"Precision at 80% recall under PGD-40: {reliability['precision_at_80_recall']:.2%}")


def _table(card: dict[str, Any]) -> Table:
    count = card["data"]["count"]
    table = Table(
        "", "accuracy", "digits", "core seconds", title=f"{card['model']}, {card['data']['source']}"
    )
    table.add_row("clean", _share(card["clean"]["accuracy"]), f"{card['clean']['correct']}/{count}", "")
    for attack in card["attacks"]:
        withstood, seconds = f"{attack['withstood']}/{attack['count']}", f"{attack['seconds']:.1f}"
        table.add_row(attack["name"], _share(attack["robust_accuracy"]), withstood, seconds)
    if "worst_case" in card:
        worst = card["worst_case"]
        name, counted = f"worst case, {worst['epsilon']:g}", f"{worst['withstood']}/{count}"
        table.add_row(name, _share(worst["robust_accuracy"]), counted, "")
    for one in card.get("certified", []):
        name, counted = f"certified, {one['epsilon']:g}", f"{one['certified']}/{count}"
        seconds = f"{one['milliseconds_an_image'] * count / 1000:.1f}"
        table.add_row(name, _share(one["certified_accuracy"]), counted, seconds)
    return table


def _share(value: float) -> str:
    return f"{value:.2%}"
