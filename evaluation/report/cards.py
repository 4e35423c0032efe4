"""The cards of measurements that the report is made of, and the ones that it expects.

    NAME.json           what `whitebox evaluate` measured of a network
    NAME.inside.json    what `whitebox inside` read out of it
    NAME.metrics.jsonl  the epochs of its training, a line each
    NAME-seed-N.*       the same for one of several seeds of a recipe

Beside the directory of cards may lie certified-training-log.json, the trials of certified training.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.package_directory import package_directories
from training.errors import TrainingError

Card = Mapping[str, Any]

_ARTIFACTS = Path(__file__).parents[2] / "artifacts"  # one version of each model
TRAINING_LOG = "certified-training-log.json"
QUICK = frozenset({"fgsm", "pgd-40", "apgd-ce"})  # what `whitebox evaluate --quick` runs
# The whole suite of cards that do not say whether theirs was whole, written before there was `whole_suite`.
_EVERY_NETWORK = frozenset({"pgd-40", "pgd-100x10", "apgd-ce", "fab-t", "square"})
_WHITE_BOX_ONLY = frozenset({"bpda", "movable"})
_FOUR_CLASSES = frozenset({"apgd-t"})
_SEED = re.compile(r"(?P<group>.+)-seed-(?P<seed>\d+)$")
_REQUIRED = ("model", "kind", "num_parameters", "data", "clean")

# Checks that say nothing of gradients.
_NOT_OF_GRADIENTS = ("no attack breaks a certificate", "onnxruntime and torch agree")


@dataclass(frozen=True)
class Expected:
    """A network that the report speaks of, and where the network is.

    Attributes:
        name: Of its card.
        target: What `whitebox evaluate` takes.
        recipe: What `whitebox train` takes, where the network is not shipped.
        seed: Of the training.
    """

    name: str
    target: str
    recipe: str | None = None
    seed: int = 0


def _run(name: str, recipe: str, seed: int = 0) -> Expected:
    return Expected(name, f"runs/{recipe}-{seed}", recipe, seed)


MAIN = "mnist-3v5"
_VERSIONS = {name: version for name, version, _ in package_directories(_ARTIFACTS)}
SHIPPED = tuple(
    Expected(name, f"artifacts/{name}/{_VERSIONS.get(name, 'VERSION')}")
    for name in (MAIN, f"{MAIN}-certified", "mnist-10", "mnist-10-certified")
)
BASELINES = tuple(_run(name, name) for name in ("logistic", "cnn", "cnn-thresholded", "cnn-adversarial"))
ABLATIONS = tuple(
    _run(name, name)
    for name in (
        "paper-without-two-step",
        "paper-without-convolution",
        "paper-without-poses",
        "paper-without-noise",
    )
)
SEEDS = tuple(_run(f"{MAIN}-seed-{seed}", "paper", seed) for seed in range(5))
EXPECTED = (*SHIPPED, *BASELINES, *ABLATIONS, *SEEDS)


class CardError(TrainingError):
    """A card cannot be read."""


@dataclass(frozen=True)
class Cards:
    """All cards of a directory, by name, in the order of `EXPECTED`, others behind them.

    Attributes:
        directory: Where they are, as commands name it.
        models: The cards of networks, seeds among them.
        introspections: By the name of the network.
        metrics: By the name of the network: one mapping an epoch.
        training_log: The trials of certified training, or None.
    """

    directory: Path
    models: Mapping[str, Card]
    introspections: Mapping[str, Card]
    metrics: Mapping[str, list[Card]]
    training_log: list[Card] | None

    def of_kind(self, *kinds: str) -> dict[str, Card]:
        """Returns the cards of some kinds, without those of single seeds."""
        return {n: c for n, c in self.models.items() if c["kind"] in kinds and not _SEED.match(n)}

    def seeds(self) -> dict[str, dict[int, Card]]:
        """Returns for each group of seeds its cards by seed."""
        groups: dict[str, dict[int, Card]] = {}
        for name, card in self.models.items():
            if match := _SEED.match(name):
                groups.setdefault(match["group"], {})[int(match["seed"])] = card
        return groups

    @property
    def of_others(self) -> bool:
        """Whether they are cards of other networks than the project's own, of which nothing is expected."""
        return bool(self.models) and not any(one.name in self.models for one in EXPECTED)

    def missing(self, expected: Iterable[Expected]) -> list[Expected]:
        """Returns those that have no card, on the page of the project's own networks."""
        return [] if self.of_others else [one for one in expected if one.name not in self.models]

    def first(self) -> str:
        """Returns the name that stands for all in a hint."""
        return next(iter(self.models)) if self.of_others else EXPECTED[0].name

    def command(self, name: str) -> str:
        """Returns the command that makes the card of a network, its training included if not shipped."""
        trained = next((e for e in EXPECTED if e.name == name and e.recipe is not None), None)
        train = f"whitebox train --recipe {trained.recipe} --seed {trained.seed} && " if trained else ""
        return train + self.evaluate_command(name)

    def evaluate_command(self, name: str) -> str:
        """Returns the command that measures a network."""
        options = _options(self.models[name]) if name in self.models else ""
        return f"whitebox evaluate {self.target(name)}{options} --out {self.directory / name}.json"

    def introspect_command(self, name: str) -> str:
        """Returns the command that writes the introspection of a network."""
        return f"whitebox inside {self.target(name)} --out {self.directory / name}.inside.json"

    def target(self, name: str) -> str:
        """Returns the package or the run that a card is about."""
        card = self.models.get(name) or self.introspections.get(name)
        if card is not None and "/" in card["model"]:
            return f"artifacts/{card['model']}"
        known = {one.name: one.target for one in EXPECTED}
        return known.get(name, f"runs/{card['model'] if card else name}")


def _options(card: Card) -> str:
    """Returns the options of `whitebox evaluate` that a card tells of."""
    ran = attacks_run(card)
    everything = any(line["attack"] in ran for line in card.get("accuracy_by_epsilon", []))
    some = " --quick" if set(ran) == QUICK else "".join(f" --attack {name}" for name in ran)
    trust = " --trust-certificates" if card.get("trust_certificates") else ""
    return ("" if everything else some) + trust


def read_cards(directory: Path) -> Cards:
    """Reads all cards of a directory; one that does not exist holds none.

    Raises:
        CardError: A file is not what its name says.
    """
    return Cards(
        directory=directory,
        models={name: _model(path) for name, path in _named(directory, ".json")},
        introspections={name: _json(path) for name, path in _named(directory, ".inside.json")},
        metrics={name: _lines(path) for name, path in _named(directory, ".metrics.jsonl")},
        training_log=_json(log) if (log := directory.parent / TRAINING_LOG).exists() else None,
    )


def _named(directory: Path, ending: str) -> list[tuple[str, Path]]:
    found = {
        path.name.removesuffix(ending): path
        for path in directory.glob(f"*{ending}")
        if ending != ".json" or "." not in path.name.removesuffix(ending)
    }
    order = {one.name: place for place, one in enumerate(EXPECTED)}
    return sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def _model(path: Path) -> Card:
    card = _json(path)
    if isinstance(card, dict) and "learnable_numbers" in card:  # as cards called it before
        card["num_parameters"] = card.pop("learnable_numbers")
    missing = [key for key in _REQUIRED if not isinstance(card, dict) or key not in card]
    if missing:
        raise CardError(f"{path} is no card of `whitebox evaluate`: it lacks {', '.join(missing)}.")
    return dict(card)


def _lines(path: Path) -> list[Card]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _json(path: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CardError(f"{path} is not JSON: {error}.") from error


def is_partial(card: Card) -> bool:
    """Tells whether only the first images of a set were measured (`--limit`)."""
    return ", first " in card["data"]["source"]


def attack_of(card: Card, name: str) -> Card | None:
    """Returns an attack's entry, if it was run."""
    return next((attack for attack in card.get("attacks", []) if attack["name"] == name), None)


def withstood(card: Card, name: str) -> float | None:
    """Returns the accuracy under an attack, if it was run."""
    attack = attack_of(card, name)
    return None if attack is None else attack.get("robust_accuracy")


def attacks_run(card: Card) -> list[str]:
    """Returns the attacks that were run, without what is put together from others."""
    return [attack["name"] for attack in card.get("attacks", []) if attack["name"] != "auto"]


def ran_whole_suite(card: Card) -> bool:
    """Tells whether every attack that the network admits was run: only then is a worst case one."""
    if "whole_suite" in card:
        return bool(card["whole_suite"])
    expected = set(_EVERY_NETWORK)
    expected |= _WHITE_BOX_ONLY if card["kind"] != "baseline" else set()
    expected |= _FOUR_CLASSES if len(card.get("labels", ())) >= 4 else set()
    return expected <= set(attacks_run(card))


def worst_case(card: Card) -> float | None:
    """Returns the share of images that withstood every attack that was run."""
    return card["worst_case"]["robust_accuracy"] if "worst_case" in card else None


def radius_of(card: Card) -> float | None:
    """Returns the radius that a network was judged at: the attacks' or else the largest that proofs have."""
    if "worst_case" in card:
        return float(card["worst_case"]["epsilon"])
    return max((one["epsilon"] for one in card.get("certified", [])), default=None)


def by_radius(cards: Mapping[str, Card]) -> dict[float, dict[str, Card]]:
    """Returns the cards by the radius they were judged at; those at none stand with the first ones."""
    radii = list(dict.fromkeys(radius for card in cards.values() if (radius := radius_of(card)) is not None))
    groups: dict[float, dict[str, Card]] = {radius: {} for radius in radii or [0.0]}
    for name, card in cards.items():
        radius = radius_of(card)
        groups[next(iter(groups)) if radius is None else radius][name] = card
    return groups


def certificates(card: Card, epsilon: float) -> dict[str, Card]:
    """Returns what each kind of bound ("interval", "exact") proves within epsilon."""
    return {one["bound"]: one for one in card.get("certified", []) if one["epsilon"] == epsilon}


def certified(card: Card, epsilon: float) -> float | None:
    """Returns the share of images that provably withstand every attack within epsilon, None if not measured.

    A proof for a ball holds for every smaller one: what any bound proves at epsilon or beyond counts.
    """
    return max((share for radius, share in _proofs(card) if radius >= epsilon), default=None)


def certified_curve(card: Card) -> list[dict[str, float]]:
    """Returns the points of certified accuracy against epsilon; it never rises."""
    radii = sorted({radius for radius, _ in _proofs(card)})
    return [{"epsilon": radius, "accuracy": certified(card, radius) or 0.0} for radius in radii]


def _proofs(card: Card) -> list[tuple[float, float]]:
    """Returns every radius at which certificates were counted, with the share that they prove."""
    counted = [(one["epsilon"], one["certified_accuracy"]) for one in card.get("certified", [])]
    curves = [line["points"] for line in card.get("accuracy_by_epsilon", []) if line["attack"] == "certified"]
    return counted + [(point["epsilon"], point["accuracy"]) for points in curves for point in points]


def has_masked_gradients(card: Card) -> bool:
    """Tells whether a check shows that gradients lead attacks astray: what they leave says little then."""
    return any(
        not check["passed"] and check["name"] not in _NOT_OF_GRADIENTS for check in card.get("checks", [])
    )


def precision_at_80_recall(card: Card) -> float | None:
    """Returns the precision of the most confident 80% under attack."""
    return card["reliability"]["precision_at_80_recall"] if "reliability" in card else None
