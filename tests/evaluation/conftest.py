"""The shipped model as the harness measures it, and a report of cards for everything that it expects."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_cards import all_cards, write_cards
from running import PACKAGE

from evaluation.evaluated_model import load_model
from evaluation.introspection import initial_network, introspect
from evaluation.report.document import Report, make_report
from model.network import WhiteBoxNetwork
from training.data import Dataset, load_mnist
from training.recipes import PAPER

FEW_STEPS = 8


@pytest.fixture(scope="session")
def target():
    return load_model(PACKAGE)


@pytest.fixture(scope="session")
def test_digits():
    return load_mnist("test", (3, 5), sample=True)


def every_third(labels) -> Dataset:
    """Digits of the sample's test part: enough for a picture of each kind, and soon attacked."""
    digits = load_mnist("test", labels, sample=True)
    return replace(digits, images=digits.images[::3], classes=digits.classes[::3])


@pytest.fixture(scope="session")
def few_digits():
    return every_third((3, 5))


@pytest.fixture(scope="session")
def insides(network, package, few_digits):
    """The shipped network and an untrained one of ten classes, on real digits."""
    ten = WhiteBoxNetwork(
        replace(PAPER.network, labels=tuple(range(10)), shapes_per_class=3, rotations=16, poses=5)
    )
    return {
        "mnist-3v5": introspect(
            network, initial_network(network, package.manifest.training), few_digits, 0.3, FEW_STEPS
        ),
        "mnist-10": introspect(ten, ten, every_third(ten.config.labels), 0.3, FEW_STEPS),
    }


@pytest.fixture(scope="session")
def cards(tmp_path_factory, insides) -> Path:
    directory = tmp_path_factory.mktemp("docs") / "results" / "cards"
    write_cards(directory, all_cards(), insides)
    return directory


@pytest.fixture(scope="session")
def written(cards) -> Report:
    report = make_report(cards, cards.parent.parent / "RESULTS.md")
    report.write()
    return report
