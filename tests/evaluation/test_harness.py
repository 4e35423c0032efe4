"""The evaluation harness: survives a kill, and does not depend on its workers."""

import json
import signal
import subprocess
import time

import pytest
from evaluation_suites import few, tiny, without_times
from running import PACKAGE, WHITEBOX
from torch import nn

from evaluation.evaluated_model import EvaluatedModel
from evaluation.harness import evaluate
from evaluation.harness.card import robustbench_fields
from evaluation.harness.plan import Plan, plan_suite
from evaluation.harness.suite import rows
from evaluation.harness.workers import in_processes
from training.data import load_mnist
from training.errors import TrainingError

COMMAND = [str(WHITEBOX), "evaluate", str(PACKAGE), "--sample"]


@pytest.fixture(scope="module")
def whole(target, test_digits, tmp_path_factory):
    """A card with every part, of a few digits and steps, in a directory of its own."""
    path = tmp_path_factory.mktemp("cards") / "whole.json"
    suite = tiny(plan_suite(target), square=30, boundary=30)
    return evaluate(target, few(test_digits, 12), path, suite, quiet=True), path


def test_card_has_every_part(whole):
    card, path = whole
    assert json.loads(path.read_text()) == card
    assert (card["kind"], card["num_parameters"], card["labels"]) == ("whitebox", 4810, [3, 5])
    assert (card["recipe"], card["seed"], card["data"]["count"]) == ("paper", 3, 12)
    names = [attack["name"] for attack in card["attacks"]]
    assert names == [
        "fgsm", "pgd-40", "pgd-100x10", "apgd-ce", "fab-t", "square", "bpda", "movable", "boundary", "auto",
    ]  # fmt: skip
    boundary = card["attacks"][8]
    assert 0 < boundary["median_linf"] < boundary["median_l2"]
    assert [one["epsilon"] for one in card["certified"]] == [0.1, 0.2, 0.3]
    assert [curve["attack"] for curve in card["accuracy_by_epsilon"]] == ["pgd-40", "apgd-ce", "certified"]
    assert {point["epsilon"] for point in card["accuracy_by_epsilon"][0]["points"]} == {0.0, 0.1, 0.3}
    assert 0 < card["reliability"]["precision_at_80_recall"] <= 1
    assert len(card["checks"]) == 10


def test_a_card_says_what_robustbench_would_list(whole):
    card, _ = whole
    fields, auto = card["robustbench"], card["attacks"][-1]
    assert auto["name"] == "auto"
    assert float(fields["clean_acc"]) == pytest.approx(100 * card["clean"]["accuracy"], abs=0.01)
    assert float(fields["autoattack_acc"]) == pytest.approx(100 * auto["robust_accuracy"], abs=0.01)
    assert (fields["threat_model"], fields["eps"], fields["additional_data"]) == ("Linf", "0.3", False)
    some = {**card, "attacks": [{**auto, "count": 11}]}
    assert robustbench_fields(some) is None  # AutoAttack did not see every image


def test_worst_case_is_below_every_attack_and_above_the_certificate(whole):
    card, _ = whole
    worst = card["worst_case"]["withstood"]
    on_all = [attack["withstood"] for attack in card["attacks"] if attack["count"] == 12]
    assert card["certified"][2]["certified"] <= worst <= min(on_all)
    members = [a["withstood"] for a in card["attacks"] if a["name"] in ("apgd-ce", "fab-t", "square")]
    assert worst <= card["attacks"][-1]["withstood"] <= min(members)


@pytest.mark.slow
def test_two_processes_give_the_same_card_as_one(whole, target, test_digits, tmp_path):
    suite = tiny(plan_suite(target), square=30, boundary=30)
    card = evaluate(
        target, few(test_digits, 12), tmp_path / "two.json", suite, in_processes(2), 2, quiet=True
    )
    assert card["processes"] == 2
    assert without_times(card) == without_times(whole[0])


def test_a_finished_evaluation_is_not_done_again(whole, target, test_digits):
    def no_workers(jobs):
        assert not list(jobs)
        return iter(())

    card, path = whole
    suite = tiny(plan_suite(target), square=30, boundary=30)
    again = evaluate(target, few(test_digits, 12), path, suite, no_workers, quiet=True)
    assert without_times(again) == without_times(card)


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_gives_the_same_card(target, tmp_path):
    killed = tmp_path / "killed.json"
    command = [*COMMAND, "--limit", "40", "--quick", "--processes", "1", "--out", str(killed)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("killed.shards/pgd-40*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    finished = {part: part.stat().st_mtime_ns for part in tmp_path.glob("killed.shards/*-0*.json")}
    subprocess.run(command, check=True, capture_output=True)
    assert all(part.stat().st_mtime_ns == written for part, written in finished.items())
    digits = load_mnist("test", (3, 5), sample=True).first(40)
    suite = plan_suite(target, names=["fgsm", "pgd-40", "apgd-ce"])
    whole = evaluate(target, digits, tmp_path / "whole.json", suite, quiet=True)
    assert without_times(json.loads(killed.read_text())) == without_times(whole)


def test_parts_of_another_network_are_not_used(target, test_digits, tmp_path):
    digits, card = few(test_digits, 10), tmp_path / "card.json"
    suite = plan_suite(target, names=["fgsm"])
    right = evaluate(target, digits, card, suite, quiet=True)["attacks"][0]["withstood"]
    turned = EvaluatedModel("turned", nn.Sequential(target.network, Negated()), (3, 5))
    wrong = evaluate(turned, digits, card, suite, quiet=True)["attacks"][0]["withstood"]
    assert right > 5
    assert wrong == 0


class Negated(nn.Module):
    def forward(self, logits):
        return -logits


def test_trusted_certificates_save_work_and_say_so(target, test_digits, tmp_path):
    digits = few(test_digits, 30)
    cards = [
        evaluate(
            target,
            digits,
            tmp_path / f"{trust}.json",
            plan_suite(target, 0.05, ["pgd-40", "fab-t"], trust_certificates=trust),
            quiet=True,
        )
        for trust in (False, True)
    ]
    assert cards[1]["trust_certificates"]
    (pgd, fab), (_, attacked_all) = cards[1]["attacks"], cards[0]["attacks"]
    assert fab["certified_instead"] > 15
    assert "certified_instead" not in pgd
    assert "certified_instead" not in attacked_all
    assert fab["withstood"] == attacked_all["withstood"]


def test_boundary_starts_at_digits_of_the_other_class(target, test_digits):
    plan = Plan.of(target, few(test_digits, 20), plan_suite(target))
    (boundary,) = plan.jobs(rows(0.3)["boundary"])
    assert (target.network(boundary.starts).argmax(dim=1) != boundary.classes).all()


def test_a_network_that_rules_an_attack_out_says_so():
    closed = EvaluatedModel("closed", nn.Identity(), (3, 5))
    with pytest.raises(TrainingError, match="rules out 'movable'"):
        plan_suite(closed, names=["movable"])
    with pytest.raises(TrainingError, match="There is no attack 'magic'"):
        plan_suite(closed, names=["magic"])


def test_ten_classes_get_autoattacks_standard_set():
    suite = plan_suite(EvaluatedModel("ten", nn.Identity(), tuple(range(10))), names=["auto"])
    assert [entry.name for entry in suite.entries] == ["apgd-ce", "apgd-t", "fab-t", "square"]
