"""The commands that make a model: train, export.

What needs torch is imported when a command runs, so that `whitebox serve` and `--help` do without.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from whitebox.cli.console import Json, errors_in_one_line, print_json, resumable, say, show, working
from whitebox.cli.options import DataDir, Sample


def train(
    recipe: Annotated[str, typer.Option(help="Name of the recipe (--list shows them).")] = "paper",
    seed: Annotated[int, typer.Option(help="Seed of the random number generators.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/RECIPE-SEED.")] = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    list_recipes: Annotated[bool, typer.Option("--list", help="Show all recipes and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Train a network by a recipe. The same command resumes an interrupted run.

    Example: whitebox train --recipe paper --seed 0
    """
    with errors_in_one_line("train"):
        from training.data import load_mnist
        from training.recipes import find_recipe
        from training.train import Run
        from training.train import train as run_training

        if list_recipes:
            _show_recipes(as_json)
            return
        run = Run(out or Path("runs") / f"{recipe}-{seed}")
        chosen = find_recipe(recipe, epochs)
        dataset = load_mnist("train", chosen.network.labels, data_dir, sample)
        validation = load_mnist("validation", chosen.network.labels, data_dir, sample)
        with resumable(f"The finished epochs are in {run.directory}; the same command goes on."):
            run_training(chosen, seed, dataset, validation, run)
    last = run.epochs()[-1]
    if as_json:
        print_json({"network": str(run.network), "images": len(dataset), **last})
        return
    say(
        f"Trained on {len(dataset):,} images: loss {last['loss']:.4f}, "
        f"validation accuracy {last['validation_accuracy']:.2%}."
    )
    say(f"The network is in {run.network}. Next: whitebox evaluate {run.directory}")


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
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Export a run as a model package, with the results of its card if it was evaluated.

    Reads the images that the network was trained on once more, to learn which images are typical of them.

    Example: whitebox export runs/paper-0 --out artifacts/mnist-3v5/4
    """
    with errors_in_one_line("export"):
        from model.package import MANIFEST, read_package
        from training.data import load_mnist
        from training.data.mnist import SAMPLE_SOURCE
        from training.export import Trained
        from training.export import export as write
        from training.train import Run

        is_package = (source / MANIFEST).exists()
        trained = Trained.from_package(read_package(source)) if is_package else Trained.from_run(Run(source))
        sample = trained.training["data"]["source"].startswith(SAMPLE_SOURCE)
        labels = trained.network.config.labels
        with working("reading the training images, exporting"):
            images, held_out = (
                load_mnist(split, labels, data_dir, sample) for split in ("train", "validation")
            )
            package = write(trained, out, images, held_out)
    if as_json:
        described = {"name": package.name, "version": package.version, "digest": package.digest}
        print_json({**described, "directory": str(package.directory)})
        return
    say(f"{package.name} version {package.version} is in {package.directory}.")
