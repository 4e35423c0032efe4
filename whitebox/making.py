"""Making a model in Python: what `whitebox train` and `whitebox export` do."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whitebox.loaded_model import Model

if TYPE_CHECKING:
    from training.device import DeviceChoice
    from training.run import Run


def train(
    data: str | Path | None = None,
    recipe: str = "paper",
    *,
    out: str | Path,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    holdout: float = 0.1,
    epsilon: float | None = None,
    settings: Sequence[str] = (),
    epochs: int | None = None,
    device: "DeviceChoice" = "auto",
) -> "Run":
    """Trains a network, from where `out` holds a part of the same training; returns the finished run.

    Args:
        data: A folder with a subfolder a class, a directory of IDX files or an .npz file; None for MNIST.
        recipe: Its name: `whitebox train --list` shows them.
        out: The run's directory.
        seed: Of all randomness.
        classes: Only these classes of `data`, in this order.
        size: Height and width for the images of a folder.
        holdout: Share of `data` held out for a test, where it has no test part.
        epsilon: Radius to train for, if the recipe trains for one.
        settings: Values of the recipe, as `--set` takes them: "network.poses=8".
        epochs: Instead of the recipe's.
        device: Where to compute; "auto" is a GPU where there is one.

    Raises:
        TrainingError: Data, recipe and device do not fit together.
    """
    from training.data import Place
    from training.recipes import Choice, chosen_recipe, select
    from training.run import Run
    from training.train import train as run_training

    place, choice = Place(None if data is None else Path(data)), Choice(classes, size, holdout)
    used = select(chosen_recipe(recipe, None, list(settings), epochs), place, choice, epsilon)
    return run_training(used.recipe, seed, *used.images, Run(Path(out)), True, used.source, device)


def export(source: "Run | str | Path", out: str | Path, *, card: str | Path | None = None) -> Model:
    """Exports a finished run, or a package as its next version, and loads it.

    Args:
        source: A run, its directory, or a package's directory.
        out: The package's directory, ending in NAME/VERSION.
        card: What `whitebox evaluate` wrote of it; None for a run's own, or what the package before says.

    Raises:
        TrainingError: The run is not finished, its data is gone, or the card is of something else.
        PackageError: `out` exists: a version, once written, does not change.
        ModuleNotFoundError: torch or onnx is not installed: the extra `train`.
    """
    from training.export import export_from
    from training.run import Run

    directory = source.directory if isinstance(source, Run) else Path(source)
    return Model(export_from(directory, Path(out), card=None if card is None else Path(card)))
