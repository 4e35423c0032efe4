"""Training a network by a recipe, in a run directory that survives a kill.

    whitebox train --recipe paper --seed 0 --out runs/paper-0

writes `recipe.json`, `metrics.jsonl` (a line an epoch), `checkpoint.safetensors` (after each epoch) and,
at the end, `network.safetensors`. The same command goes on where a killed one stopped and ends with the
same numbers: all randomness of an epoch comes from the seed and the epoch's number.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from model.layers.multi_step import MultiStepLayer
from model.layers.two_step import TwoStepLayer
from model.package import write_atomically
from training import native
from training.data import DATA_SOURCES, Dataset, DataSource, usual_epsilon
from training.device import DeviceChoice, find_device
from training.networks.architectures import Network, build
from training.objectives import OBJECTIVES, count_correct
from training.progress import progress_bar
from training.recipes import RECIPES, Noise, Recipe
from training.run import Run, RunError
from training.schedules import SCHEDULES

# Below so many pixels a step, threads wait for one another longer than they work.
_WORTH_THREADS = 2**15
_EPOCH_KEY = "epochs_done"
_PARAMETER, _MOMENT = "parameter.", "adam."


def train(
    recipe: Recipe,
    seed: int,
    dataset: Dataset,
    validation: Dataset,
    run: Run,
    quiet: bool = False,
    source: DataSource | None = None,
    device: DeviceChoice = "auto",
) -> Run:
    """Trains to the end of the recipe, from the last checkpoint if there is one.

    Args:
        recipe: How.
        seed: Of all randomness.
        dataset: To train on.
        validation: To count the accuracy on after each epoch; nothing is chosen by it here.
        run: Where the run is kept.
        quiet: Without a progress bar.
        source: Where the data was read from, for the evaluation.
        device: Where to compute. A run may go on elsewhere than where it began; its numbers then differ by
            rounding.

    Raises:
        RunError: The directory holds a run with another recipe, seed or data.
        TrainingError: There is no such device.
    """
    place = find_device(device)
    _claim_directory(recipe, seed, {"data": dataset, "validation": validation}, source, run)
    dataset, validation = dataset.to(place), validation.to(place)
    network = _initial_network(recipe, seed).to(place)
    _train_on(network, recipe, seed, dataset, validation, run, quiet)
    write_atomically(run.network, save(network.state_dict()))
    return run


def _train_on(
    network: Network,
    recipe: Recipe,
    seed: int,
    dataset: Dataset,
    validation: Dataset,
    run: Run,
    quiet: bool,
) -> None:
    """Trains from the run's checkpoint, or from the network as it is, to the end of the recipe."""
    optimizer = torch.optim.Adam(_groups(network, recipe), weight_decay=recipe.weight_decay)
    epochs_done = _restore(network, optimizer, run)
    steps = _steps_of_an_epoch(recipe, dataset)
    with progress_bar(quiet) as progress, _threads(recipe, network, dataset):
        task = progress.add_task("", total=recipe.epochs * steps, completed=epochs_done * steps, numbers="")
        for epoch in range(epochs_done, recipe.epochs):
            metrics = _Epoch(epoch + 1)
            for trained in _steps(network, optimizer, recipe, dataset, seed, epoch):
                metrics.add(*trained)
                progress.update(task, advance=1, description=metrics.title(recipe), numbers=metrics.numbers())
            line = {**metrics.line(), **_validation_metrics(network, recipe, validation, epoch + 1)}
            _finish_epoch(run, line, _state(network, optimizer, epoch + 1))


def _initial_network(recipe: Recipe, seed: int) -> Network:
    torch.manual_seed(seed)
    network = build(recipe.network)
    with torch.no_grad():
        for name, values in recipe.start.items():
            network.get_parameter(name).copy_(torch.tensor(values))
    return network


def _groups(network: Network, recipe: Recipe) -> list[dict[str, Any]]:
    """Returns the parameters, each with its share of the learning rate."""
    return [
        {"params": [parameter], "rate": recipe.rates.get(name, 1.0)}
        for name, parameter in network.named_parameters()
    ]


@contextmanager
def _threads(recipe: Recipe, network: Network, dataset: Dataset) -> Iterator[None]:
    before = torch.get_num_threads()
    if recipe.batch_size * dataset.images[0].numel() < _WORTH_THREADS:
        torch.set_num_threads(1)
    try:
        with native.threads_apart() if recipe.objective.uses_native_loops(network) else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _steps_of_an_epoch(recipe: Recipe, dataset: Dataset) -> int:
    return -(-len(dataset) // recipe.batch_size)


def _steps(
    network: Network,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    dataset: Dataset,
    seed: int,
    epoch: int,
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Takes the steps of an epoch, yielding of each what `_step` returns."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    steps = _steps_of_an_epoch(recipe, dataset)
    for step, batch in enumerate(_batches(dataset, recipe, generator)):
        yield _step(network, optimizer, recipe, batch, epoch + step / steps, generator)


def _step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    batch: tuple[Tensor, Tensor],
    epochs_done: float,
    generator: torch.Generator,
) -> tuple[float, Tensor, Tensor]:
    """Takes a step of the optimizer; returns the batch's loss, logits (N, classes) and classes (N,)."""
    images, classes = batch
    with _matmul_precision(recipe.matmul_precision):
        loss, logits = recipe.objective.loss(network, images, classes, epochs_done / recipe.epochs, generator)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(epochs_done) * group["rate"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.project_()
    return loss.item(), logits, classes


def _batches(dataset: Dataset, recipe: Recipe, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(dataset), generator=generator)
    for chosen in order.to(dataset.images.device).split(recipe.batch_size):
        yield add_noise(dataset.images[chosen], recipe.noise, generator), dataset.classes[chosen]


def add_noise(images: Tensor, noise: Noise, generator: torch.Generator) -> Tensor:
    """Returns the batch with noise, or as it is: one draw decides for the whole batch."""
    if torch.rand((), generator=generator) >= noise.probability:
        return images
    drawn = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + noise.mean + noise.std * drawn).clamp(0, 1)


class _Epoch:
    """Running sums of one epoch."""

    def __init__(self, number: int) -> None:
        self.number, self.started = number, time.perf_counter()
        self.loss, self.correct, self.seen = 0.0, 0, 0

    def add(self, loss: float, logits: Tensor, classes: Tensor) -> None:
        self.loss += loss * len(classes)
        self.correct += int((logits.argmax(dim=1) == classes).sum())
        self.seen += len(classes)

    def title(self, recipe: Recipe) -> str:
        return f"epoch {self.number}/{recipe.epochs}"

    def numbers(self) -> str:
        return f"loss {self.loss / self.seen:.4f}  accuracy {self.correct / self.seen:.2%}"

    def line(self) -> dict[str, Any]:
        return {
            "epoch": self.number,
            "loss": round(self.loss / self.seen, 6),
            "training_accuracy": round(self.correct / self.seen, 6),
            "seconds": round(time.perf_counter() - self.started, 3),
        }


def _validation_metrics(
    network: Network, recipe: Recipe, validation: Dataset, epochs_done: int
) -> dict[str, Any]:
    """Returns what an epoch's line says of the network as the epoch left it."""
    correct = count_correct(network, validation.images, validation.classes)
    metrics: dict[str, Any] = {
        "validation_accuracy": round(correct / len(validation), 6),
        **recipe.objective.numbers(network, validation, epochs_done / recipe.epochs),
    }
    two_step = getattr(network, "two_step", None)
    if isinstance(two_step, (TwoStepLayer, MultiStepLayer)):
        metrics["two_step_thresholds"] = [round(t, 4) for t in two_step.thresholds.tolist()]
    return metrics


def _claim_directory(
    recipe: Recipe, seed: int, data: Mapping[str, Dataset], source: DataSource | None, run: Run
) -> None:
    wanted = {
        "recipe": recipe.to_dict(),
        "seed": seed,
        **{name: dataset.origin() for name, dataset in data.items()},
    }
    if (run.directory / "recipe.json").exists():
        if not wanted.items() <= run.description().items():
            raise RunError(
                f"{run.directory} holds a run with another recipe, seed or data. Choose another --out "
                f"or delete it."
            )
        return
    if source is not None:
        wanted |= {"test": source.load("test").origin(), "source": source.to_dict()}
    wanted["epsilon"] = recipe.objective.radius or usual_epsilon(wanted)
    if plugins := _plugins(recipe, source):
        wanted["plugins"] = plugins
    run.directory.mkdir(parents=True, exist_ok=True)
    write_atomically(run.directory / "recipe.json", json.dumps(wanted, indent=2).encode())


def _plugins(recipe: Recipe, source: DataSource | None) -> list[str]:
    """Returns the plugins without which the run cannot be trained again."""
    added_by = {
        RECIPES.plugin_of(recipe.name),
        OBJECTIVES.plugin_of(type(recipe.objective).__name__),
        SCHEDULES.plugin_of(type(recipe.schedule).__name__),
        None if source is None else DATA_SOURCES.plugin_of(source.kind),
    }
    return sorted(name for name in added_by if name is not None)


def _finish_epoch(run: Run, line: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Writes an epoch's line, in place of one from before a kill, and the checkpoint."""
    kept = [earlier for earlier in run.epochs() if earlier["epoch"] < line["epoch"]]
    write_atomically(run.metrics, "".join(f"{json.dumps(one)}\n" for one in [*kept, line]).encode())
    write_atomically(run.checkpoint, save(state))


def _state(network: Network, optimizer: torch.optim.Optimizer, epochs_done: int) -> dict[str, Tensor]:
    state = {f"{_PARAMETER}{name}": value for name, value in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        state.update({f"{_MOMENT}{index}.{key}": value for key, value in moments.items()})
    return {**state, _EPOCH_KEY: torch.tensor(epochs_done)}


def _restore(network: Network, optimizer: torch.optim.Optimizer, run: Run) -> int:
    """Loads the checkpoint, if there is one, and returns how many epochs are done."""
    if not run.checkpoint.exists():
        return 0
    state = load_file(run.checkpoint)
    network.load_state_dict(
        {k.removeprefix(_PARAMETER): v for k, v in state.items() if k.startswith(_PARAMETER)}
    )
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith(_MOMENT):
            index, name = key.removeprefix(_MOMENT).split(".")
            moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return int(state[_EPOCH_KEY])
