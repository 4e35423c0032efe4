"""The entries of `whitebox certify`: what they count, what they say of how, and how a card takes them in."""

import json

import pytest
import torch

from evaluation.certificates import add_to_card, certified_accuracy
from training.data import load_mnist


@pytest.fixture(scope="module")
def some():
    return load_mnist("test", (3, 5), sample=True).first(12)


def test_intervals_are_counted_without_a_limit(frozen, some):
    (entry,) = certified_accuracy(frozen, some, [0.1], quiet=True)
    assert entry["bound"] == "interval"
    assert "seconds_a_digit" not in entry
    assert entry["certified"] + entry["falsified"] + entry["unknown"] == 12


def test_the_exact_stage_proves_more_and_records_its_limit(frozen, some, tmp_path):
    (interval,) = certified_accuracy(frozen, some, [0.2], quiet=True)
    lines = tmp_path / "verdicts.jsonl"
    (exact,) = certified_accuracy(frozen, some, [0.2], exact_seconds=5.0, lines=lines, quiet=True)
    assert (exact["bound"], exact["seconds_a_digit"]) == ("exact", 5.0)
    assert exact["certified"] > interval["certified"]
    verdicts = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [one["digit"] for one in verdicts] == list(range(12))
    assert sum(one["verdict"] == "certified" for one in verdicts) == exact["certified"]
    assert "linear" in {one["stage"] for one in verdicts}


def test_a_digit_that_an_attack_turns_is_falsified(frozen, some):
    classes = torch.ones_like(some.classes) - some.classes  # every digit is misclassified as it is
    turned = type(some)(some.images, classes, some.labels, some.source, some.digest)
    (entry,) = certified_accuracy(frozen, turned, [0.1], quiet=True)
    assert entry["falsified"] == 12


def test_a_card_keeps_entries_of_other_kinds_and_those_without_a_limit(tmp_path):
    old = {"epsilon": 0.3, "bound": "exact", "certified": 5}
    kept = {"epsilon": 0.2, "bound": "exact", "certified": 7}
    path = tmp_path / "card.json"
    path.write_text(json.dumps({"model": "one", "certified": [kept, old]}))
    new = {**old, "seconds_a_digit": 60.0}
    interval = {"epsilon": 0.3, "bound": "interval", "certified": 4}
    card = add_to_card(path, [new, interval])
    assert card["certified"] == [interval, kept, new]
    assert json.loads(path.read_text()) == card
