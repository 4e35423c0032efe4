"""The commands that make a model: train, export.

What needs torch is imported when a command runs, so that `whitebox serve` and `--help` do without.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from training.device import DeviceChoice
from training.errors import TrainingError
from whitebox.cli.console import Json, errors_in_one_line, inform, print_json, resumable, say, show, working
from whitebox.cli.options import Data, DataDir, Plugins, Sample

if TYPE_CHECKING:
    from training.run import Run


Classes = Annotated[
    str | None, typer.Option(help="Only these classes of --data, in this order: cat,dog. Default: all.")
]
Size = Annotated[str | None, typer.Option(help="Height and width to bring the images of a folder to: 28x28.")]
Epsilon = Annotated[
    float | None, typer.Option(min=0, max=1, help="Radius to train for, if the recipe trains for one.")
]
RecipeFile = Annotated[
    Path | None, typer.Option(help="TOML file of a recipe of your own (docs/training.md).")
]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", help="A value of the recipe: network.poses=8. May be repeated."),
]
Device = Annotated[DeviceChoice, typer.Option(help="Where to compute; auto is a GPU where there is one.")]
Holdout = Annotated[
    float,
    typer.Option(min=0.01, max=0.5, help="Share of --data held out where it has no test part of its own."),
]


def train(
    recipe: Annotated[str, typer.Option(help="Name of the recipe (--list shows them).")] = "paper",
    data: Data = None,
    classes: Classes = None,
    size: Size = None,
    holdout: Holdout = 0.1,
    epsilon: Epsilon = None,
    recipe_file: RecipeFile = None,
    settings: Values = None,
    plugin: Plugins = None,
    seed: Annotated[int, typer.Option(help="Seed of the random number generators.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/RECIPE-SEED.")] = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    device: Device = "auto",
    list_recipes: Annotated[bool, typer.Option("--list", help="Show all recipes and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Train a network by a recipe, on MNIST or on images of your own. The same command resumes it.

    Example: whitebox train --data photos/ --classes cat,dog --recipe certified --epsilon 0.1
    """
    with errors_in_one_line("train", plugin):
        if list_recipes:
            _show_recipes(as_json)
            return
        from training.data import Place
        from training.recipes import Choice, chosen_recipe, select
        from training.run import Run
        from training.train import train as run_training

        chosen = chosen_recipe(recipe, recipe_file, settings or [], epochs)
        place, choice = Place(data, data_dir, sample), Choice(_names(classes), _size(size), holdout)
        selected = select(chosen, place, choice, epsilon)
        inform(*selected.notes)
        run = Run(out or _default_run(selected.recipe.name, data, seed))
        with resumable(f"The finished epochs are in {run.directory}; the same command goes on."):
            run_training(selected.recipe, seed, *selected.images, run, source=selected.source, device=device)
    _show_run(run, len(selected.train), as_json)


def _show_run(run: "Run", images: int, as_json: bool) -> None:
    last = run.epochs()[-1]
    if as_json:
        print_json({"network": str(run.network), "images": images, **last})
        return
    say(
        f"Trained on {images:,} images: loss {last['loss']:.4f}, "
        f"validation accuracy {last['validation_accuracy']:.2%}."
    )
    say(f"The network is in {run.network}. Next: whitebox evaluate {run.directory}")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, x, width = text.lower().partition("x")
    if not (x and height.isdecimal() and width.isdecimal()):
        raise TrainingError(f"--size {text}: write height and width as 28x28.")
    return int(height), int(width)


def _default_run(recipe: str, data: Path | None, seed: int) -> Path:
    """Returns the run directory of a recipe, or of a recipe and the data's name."""
    name = recipe if data is None else f"{data.absolute().stem}-{recipe}"
    return Path("runs") / f"{name}-{seed}"


def _show_recipes(as_json: bool) -> None:
    from training.networks.architectures import build
    from training.recipes import RECIPES

    rows = [
        {"recipe": one.name, "trains": one.title, "parameters": count, "epochs": one.epochs}
        for one in RECIPES.values()
        for count in [build(one.network).num_parameters()]
    ]
    if as_json:
        print_json(rows)
        return
    table = Table(Column("recipe", no_wrap=True), "trains", "parameters", "epochs")
    for row in rows:
        table.add_row(str(row["recipe"]), str(row["trains"]), f"{row['parameters']:,}", str(row["epochs"]))
    show(table)


def export(
    source: Annotated[
        Path, typer.Argument(help="A finished run, or a package to export again as its next version.")
    ],
    out: Annotated[Path, typer.Option(help="The package's directory, ending in NAME/VERSION.")],
    card: Annotated[
        Path | None,
        typer.Option(help="A card of evaluate. Default: the run's own, if it was evaluated."),
    ] = None,
    data: Data = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Export a run as a model package, with the results of its card if it was evaluated.

    Reads the images that the network was trained on once more, to learn which images are typical of them.

    Example: whitebox export runs/paper-0 --out artifacts/mnist-3v5/7
    """
    with errors_in_one_line("export", plugin):
        from training.data import Place
        from training.export import export_from

        with working("reading the training images, exporting"):
            package = export_from(source, out, Place(data, data_dir), card)
    if as_json:
        described = {"name": package.name, "version": package.version, "digest": package.digest}
        print_json({**described, "directory": str(package.directory)})
        return
    say(f"{package.name} version {package.version} is in {package.directory}.")
