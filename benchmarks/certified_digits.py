"""Digits of MNIST's test set that a shipped model certifies, at some epsilon and by some bound."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from benchmarks.measuring import ROOT
from evaluation.evaluated_model import EvaluatedModel, load_model
from evaluation.harness.onnx_network import OnnxNetwork
from model.attacks import registry
from model.attacks.budget import margins
from model.attacks.settings import AttackSettings
from model.attacks.unsaturated import Unsaturated
from model.verification.verify import SearchPolicy, Verifier
from training.data import DATA_DIR_VARIABLE, Dataset, load_mnist

EPSILONS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
DIGITS = 60
# For the later stages: how many digits at each epsilon, chosen among how many, and how many seconds for each.
LATER_EPSILONS, LATER_DIGITS, CANDIDATES, LATER_SECONDS = (0.2, 0.3), 15, 150, 10.0


@dataclass(frozen=True)
class Subject:
    """A shipped model and the digits that its certificates are tested on.

    Attributes:
        target: The model.
        pool: All test digits.
    """

    target: EvaluatedModel
    pool: Dataset

    @classmethod
    def load(cls, model: str) -> "Subject":
        target = load_model(ROOT / "artifacts" / model)
        pool = load_mnist("test", target.labels, sample=not os.environ.get(DATA_DIR_VARIABLE))
        return cls(target, pool)

    @cached_property
    def chosen(self) -> Tensor:
        """Some digits, spread evenly."""
        return torch.linspace(0, len(self.pool) - 1, DIGITS).round().long()

    @cached_property
    def verifier(self) -> Verifier:
        assert self.target.white_box is not None
        return Verifier(self.target.white_box)

    @cached_property
    def on_onnxruntime(self) -> OnnxNetwork:
        assert self.target.graph is not None
        return OnnxNetwork(self.target.graph)

    @cached_property
    def right(self) -> Tensor:
        return margins(self.on_onnxruntime(self.pool.images), self.pool.classes) > 0

    def is_correct(self, images: Tensor, classes: Tensor) -> Tensor:
        judges = (self.target.network, self.on_onnxruntime)
        with torch.no_grad():
            return torch.stack([margins(judge(images), classes) > 0 for judge in judges]).all(dim=0)

    def starts(self, images: Tensor, classes: Tensor) -> Tensor:
        """Returns for each image the nearest digit that is rightly taken for another class."""
        distance = torch.cdist(images.flatten(1), self.pool.images.flatten(1))
        usable = (classes[:, None] != self.pool.classes) & self.right
        return self.pool.images[distance.where(usable, torch.inf).argmin(dim=1)]


@dataclass(frozen=True)
class Certificates:
    """Digits of one model that are certified at one epsilon, and by what."""

    subject: Subject
    kind: str
    epsilon: float
    rows: Tensor

    def every(self, step: int) -> "Certificates":
        return replace(self, rows=self.rows[step // 2 :: step])


def at_fixed_epsilons(subject: Subject) -> Iterator[Certificates]:
    images, classes = subject.pool.images[subject.chosen], subject.pool.classes[subject.chosen]
    for epsilon in EPSILONS:
        certified = subject.verifier.certified(images, classes, epsilon)
        yield Certificates(subject, "interval", epsilon, subject.chosen[certified])


def at_certified_radii(subject: Subject) -> Iterator[Certificates]:
    images, classes = subject.pool.images[subject.chosen], subject.pool.classes[subject.chosen]
    radii = subject.verifier.certified_radius(images, classes)
    for radius in radii[radii > 0].unique().tolist():
        yield Certificates(subject, "interval, at the radius", radius, subject.chosen[radii == radius])


def by_later_stages(subject: Subject) -> Iterator[Certificates]:
    """Yields what intervals leave open, a first attack does not break, and linear bounds or HiGHS prove."""
    pool, verifier = subject.pool, subject.verifier
    for epsilon in LATER_EPSILONS:
        certified = verifier.certified(pool.images, pool.classes, epsilon)
        candidates = (subject.right & ~certified).nonzero()[:CANDIDATES, 0]
        stages = {row: stage_of(subject, row, epsilon) for row in standing(subject, candidates, epsilon)}
        for kind in ("linear", "milp"):
            rows = [row for row, stage in stages.items() if stage == kind]
            yield Certificates(subject, kind, epsilon, torch.tensor(rows, dtype=torch.long))


def standing(subject: Subject, rows: Tensor, epsilon: float) -> list[int]:
    """Returns the first digits that the first attack does not turn: no time is lost on proving them."""
    images, classes = subject.pool.images[rows], subject.pool.classes[rows]
    target = registry.Target(Unsaturated(subject.target.network, images, classes), images, classes)
    found = registry.run(target, AttackSettings("apgd", "linf", epsilon, steps=20))
    return rows[target.is_correct(found)][:LATER_DIGITS].tolist()


def stage_of(subject: Subject, row: int, epsilon: float) -> str | None:
    """Returns the stage that certifies a digit, or None."""
    image, true = subject.pool.images[row][None], subject.pool.classes[row][None]
    policy = SearchPolicy("milp", attack=False, seconds=LATER_SECONDS)
    (result,) = subject.verifier.verify(image, true, epsilon, policy)
    return result.method if result.verdict == "certified" else None
