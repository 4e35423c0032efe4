"""The commands that measure a model: evaluate, inside, report; and what `certify` does with a model.

What needs torch is imported when a command runs, so that `whitebox serve` and `--help` do without.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from model.package import MANIFEST, read_package, write_atomically
from training.errors import TrainingError
from whitebox.cli.card_table import card_table, check_lines
from whitebox.cli.console import Json, errors_in_one_line, print_json, resumable, say, show
from whitebox.cli.options import Data, DataDir, Limit, Plugins, Sample, Split, SplitOption, Target

if TYPE_CHECKING:
    from evaluation.evaluated_model import EvaluatedModel
    from evaluation.harness.suite import Suite
    from model.network import WhiteBoxNetwork
    from training.data import Dataset

CardPath = Annotated[
    Path | None,
    typer.Option(help="Where the card goes; default: card.json in a run, runs/NAME-VERSION.json."),
]
Quick = Annotated[bool, typer.Option("--quick", help="Only fgsm, pgd-40 and apgd-ce.")]
Attacks = Annotated[
    list[str] | None,
    typer.Option(help="Only this attack; may be repeated. Default: all (docs/evaluation.md)."),
]
Epsilon = Annotated[
    float | None, typer.Option(min=0, max=1, help="Radius of the L-inf ball; default: the model's own.")
]
TrustCertificates = Annotated[
    bool, typer.Option("--trust-certificates", help="Do not run expensive attacks on certified images.")
]
Corruptions = Annotated[
    bool,
    typer.Option(
        "--corruptions",
        help="Instead of attacks, corruptions (MNIST-C's and others) of 1,000 or --limit random images; "
        "added to an existing card.",
    ),
]
OtherNorms = Annotated[
    bool,
    typer.Option(
        "--other-norms",
        help="Instead of attacks in L-inf, attacks in L2 and L0 on 100 or --limit random images; "
        "added to an existing card.",
    ),
]
Processes = Annotated[int | None, typer.Option(min=1, help="Default: one a core.")]
Ray = Annotated[str | None, typer.Option(help="Address of a Ray cluster to run on instead.")]


def evaluate(
    target: Target,
    out: CardPath = None,
    data: Data = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    split: SplitOption = "test",
    quick: Quick = False,
    attack: Attacks = None,
    epsilon: Epsilon = None,
    limit: Limit = None,
    trust_certificates: TrustCertificates = False,
    corruptions: Corruptions = False,
    other_norms: OtherNorms = False,
    processes: Processes = None,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Measure accuracy: clean, under each attack, and certified, with checks for gradient masking.

    The same command resumes an interrupted evaluation. docs/evaluation.md explains every number.

    Example: whitebox evaluate artifacts/mnist-3v5/6 --quick --limit 200
    """
    with errors_in_one_line("evaluate", plugin):
        from evaluation.evaluated_model import load_model
        from evaluation.harness.plan import plan_suite
        from evaluation.harness.suite import QUICK
        from training.data import Place, load_recorded

        model = load_model(target)
        suite = plan_suite(model, epsilon, [*(attack or []), *(QUICK if quick else [])], trust_certificates)
        dataset = load_recorded(model.training, model.labels, split, Place(data, data_dir, sample))
        path = out or _default_card(target, model.name)
        if corruptions or other_norms:
            card = _evaluate_beyond(model, dataset, path, limit, corruptions, other_norms)
        else:
            card = _evaluate_suite(model, dataset.first(limit), path, suite, processes, ray)
    _show_card(card, path, as_json)


def _evaluate_suite(
    model: "EvaluatedModel",
    dataset: "Dataset",
    path: Path,
    suite: "Suite",
    processes: int | None,
    ray: str | None,
) -> dict[str, Any]:
    from evaluation.harness import evaluate as run_evaluation
    from evaluation.harness.workers import chosen_workers

    workers, count = chosen_workers(processes, ray)
    with resumable(f"What is finished is beside {path}; the same command goes on."):
        return run_evaluation(model, dataset, path, suite, workers, count)


def _evaluate_beyond(
    model: "EvaluatedModel",
    dataset: "Dataset",
    path: Path,
    limit: int | None,
    corruptions: bool,
    other_norms: bool,
) -> dict[str, Any]:
    """Measures what lies beyond the L-inf ball and adds it to the card."""
    from evaluation import corruptions as spoilt
    from evaluation import other_norms as norms
    from evaluation.certificates import check_images

    card = {**model.head(), "data": dataset.origin()}
    before = json.loads(path.read_text()) if path.exists() else card
    check_images(path, before, dataset)
    found = {}
    if corruptions:
        found["corruptions"] = spoilt.accuracy_under_corruptions(model, dataset, limit or spoilt.SAMPLE)
    if other_norms:
        found["other_norms"] = norms.accuracy_in_other_norms(model, dataset, limit or norms.SAMPLE)
    _write(path, json.dumps({**before, **found}, indent=2))
    return {**card, **found}


class TestImages(NamedTuple):
    """Which images a model is measured on, as the options of commands say it."""

    data: Path | None
    data_dir: Path | None
    sample: bool
    split: Split
    limit: int | None


def certify_model(
    target: Path,
    radii: list[float] | None,
    exact: float | None,
    verdicts: Path | None,
    out: Path | None,
    images: TestImages,
    as_json: bool,
) -> None:
    """Measures certified accuracy; the options of `whitebox certify` describe the arguments."""
    from evaluation.certificates import add_to_card, certified_accuracy, make_certified_card
    from evaluation.harness.suite import certified_epsilons
    from training.data import Place, epsilon_of, load_recorded

    name, network = _load(target)
    place = Place(images.data, images.data_dir, images.sample)
    training = _training_of(target)
    dataset = load_recorded(training, network.config.labels, images.split, place).first(images.limit)
    within = radii or certified_epsilons(epsilon_of(training))
    entries = certified_accuracy(network.freeze(), dataset, within, exact, verdicts)
    card = make_certified_card(name, dataset, entries)
    if out is not None and out.exists():
        add_to_card(out, dataset, entries)
    elif out is not None:
        _write(out, json.dumps(card, indent=2))
    _show_card(card, out, as_json)


def inside(
    target: Target,
    out: Annotated[Path, typer.Option(help="Where the numbers go, NAME.inside.json.")],
    data: Data = None,
    plugin: Plugins = None,
    data_dir: DataDir = None,
    sample: Sample = False,
    boundary_steps: Annotated[
        int, typer.Option(min=1, help="Steps of the attack that looks for minimal adversarial examples.")
    ] = 5000,
    as_json: Json = False,
) -> None:
    """Write a network's parameters, and every layer's output on some test images, as JSON (about 30 s).

    Example: whitebox inside artifacts/mnist-3v5/6 --out docs/results/cards/mnist-3v5.inside.json
    """
    with errors_in_one_line("inside", plugin):
        from evaluation.introspection import initial_network, introspect
        from training.data import Place, load_recorded, usual_epsilon

        name, network = _load(target)
        training = _training_of(target)
        initial = initial_network(network, training)
        place = Place(data, data_dir, sample)
        dataset = load_recorded(training, network.config.labels, "test", place)
        epsilon = usual_epsilon(training)
        numbers = {"model": name, **introspect(network, initial, dataset, epsilon, boundary_steps)}
    _write(out, json.dumps(numbers, separators=(",", ":")))
    if as_json:
        print_json({"model": name, "out": str(out)})
        return
    say(f"The parameters and layer outputs of {name} are in {out}.")


def report(
    cards: Annotated[Path, typer.Option(help="Directory of the cards.")] = Path("docs/results/cards"),
    out: Annotated[Path, typer.Option(help="The page.")] = Path("docs/RESULTS.md"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if out of date.")] = False,
    as_json: Json = False,
) -> None:
    """Write the page of results and its figures from the cards alone.

    Example: whitebox report --check
    """
    with errors_in_one_line("report"):
        from evaluation.report.document import make_report

        made = make_report(cards, out)
        if not check:
            made.write()
        elif stale := made.out_of_date():
            names = ", ".join(str(path) for path in stale)
            raise TrainingError(f"Not what the cards give: {names}. Write anew with: whitebox report")
    if as_json:
        print_json({"page": str(out), "figures": [figure.file for figure in made.figures]})
    elif check:
        say(f"{out} is what the cards give.")
    else:
        say(f"The report is in {out}, {len(made.figures)} figures in {made.figures_directory}.")


def _show_card(card: dict[str, Any], path: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(card)
        return
    show(card_table(card))
    for line in check_lines(card):
        say(line)
    if path is not None:
        say(f"The card is in {path}.")


def _default_card(target: Path, name: str) -> Path:
    return Path("runs") / f"{name.replace('/', '-')}.json" if _is_package(target) else target / "card.json"


def _training_of(target: Path) -> dict[str, Any]:
    """Returns recipe and seed of a package or a run."""
    from training.run import Run

    training = read_package(target).manifest.training or {} if _is_package(target) else None
    return dict(Run(target).description() if training is None else training)


def _is_package(target: Path) -> bool:
    return (target / MANIFEST).exists()


def _load(target: Path) -> "tuple[str, WhiteBoxNetwork]":
    """Returns the name and the network of a package or a finished run."""
    from model.network import WhiteBoxNetwork
    from training.run import Run

    if _is_package(target):
        package = read_package(target)
        return f"{package.name}/{package.version}", WhiteBoxNetwork.from_package(package)
    return target.absolute().name, Run(target).load_white_box()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{text}\n".encode())
