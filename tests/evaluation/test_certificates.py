"""The entries of `whitebox certify`: what they count, what they say of how, and how a card takes them in."""

import json

import pytest
import torch

from evaluation.certificates import add_to_card, certified_accuracy
from training.data import DataError, load_mnist


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


def test_an_interrupted_certification_goes_on_where_it_stopped(frozen, some, tmp_path):
    lines, digits = tmp_path / "verdicts.jsonl", some.first(6)
    whole = certified_accuracy(frozen, digits, [0.1, 0.2], lines=lines, quiet=True)
    before = lines.read_text().splitlines()
    lines.write_text("\n".join([*before[:7], before[7][:20]]))  # killed while it wrote the fourth digit
    again = certified_accuracy(frozen, digits, [0.1, 0.2], lines=lines, quiet=True)
    after = lines.read_text().splitlines()
    assert after[:6] == before[:6]  # with the seconds that they took the first time
    assert [_verdict(line) for line in after] == [_verdict(line) for line in before]
    assert [entry["certified"] for entry in again] == [entry["certified"] for entry in whole]


def _verdict(line):
    read = json.loads(line)
    return read["digit"], read["epsilon"], read["verdict"], read["stage"]


@pytest.mark.slow
def test_with_more_seconds_only_the_unknown_is_tried_again(frozen, some, tmp_path):
    lines = tmp_path / "verdicts.jsonl"
    certified_accuracy(frozen, some, [0.2], exact_seconds=0.0, lines=lines, quiet=True)
    before = [json.loads(line) for line in lines.read_text().splitlines()]
    (entry,) = certified_accuracy(frozen, some, [0.2], exact_seconds=5.0, lines=lines, quiet=True)
    after = [json.loads(line) for line in lines.read_text().splitlines()]
    unknown = [one["digit"] for one in before if one["verdict"] == "unknown"]
    assert unknown
    assert entry["unknown"] < len(unknown)
    for old, new in zip(before, after, strict=True):
        if old["digit"] not in unknown:
            assert (new["verdict"], new["seconds"]) == (old["verdict"], old["seconds"])


def test_verdicts_of_another_network_or_other_images_are_not_used(frozen, some, tmp_path):
    lines, digits = tmp_path / "verdicts.jsonl", some.first(2)
    certified_accuracy(frozen, digits, [0.1], lines=lines, quiet=True)
    swapped = type(some)(digits.images.flip(0), digits.classes.flip(0), some.labels, some.source, "another")
    certified_accuracy(frozen, swapped, [0.1], lines=lines, quiet=True)
    verdicts = [json.loads(line) for line in lines.read_text().splitlines()]
    (entry,) = certified_accuracy(frozen, swapped, [0.1], quiet=True)
    assert sum(one["verdict"] == "certified" for one in verdicts) == entry["certified"]
    assert len({one["key"] for one in verdicts}) == 2


def test_intervals_alone_do_not_count_what_the_exact_stage_proved(frozen, some, tmp_path):
    lines = tmp_path / "verdicts.jsonl"
    certified_accuracy(frozen, some, [0.2], exact_seconds=5.0, lines=lines, quiet=True)
    (alone,) = certified_accuracy(frozen, some, [0.2], lines=lines, quiet=True)
    (fresh,) = certified_accuracy(frozen, some, [0.2], quiet=True)
    assert alone["certified"] == fresh["certified"]


def test_a_digit_that_an_attack_turns_is_falsified(frozen, some):
    classes = torch.ones_like(some.classes) - some.classes  # every digit is misclassified as it is
    turned = type(some)(some.images, classes, some.labels, some.source, some.digest)
    (entry,) = certified_accuracy(frozen, turned, [0.1], quiet=True)
    assert entry["falsified"] == 12


def test_a_card_keeps_entries_of_other_kinds_and_those_without_a_limit(some, tmp_path):
    old = {"epsilon": 0.3, "bound": "exact", "certified": 5}
    kept = {"epsilon": 0.2, "bound": "exact", "certified": 7}
    path = tmp_path / "card.json"
    path.write_text(json.dumps({"model": "one", "data": some.origin(), "certified": [kept, old]}))
    new = {**old, "seconds_a_digit": 60.0}
    interval = {"epsilon": 0.3, "bound": "interval", "certified": 4}
    card = add_to_card(path, some, [new, interval])
    assert card["certified"] == [interval, kept, new]
    assert json.loads(path.read_text()) == card


def test_a_card_of_other_images_takes_no_entries(some, tmp_path):
    path = tmp_path / "card.json"
    path.write_text(json.dumps({"model": "one", "data": some.first(3).origin(), "certified": []}))
    with pytest.raises(DataError, match=r"card\.json is about .*, first 3 \(3 images\), not about these"):
        add_to_card(path, some, [])
