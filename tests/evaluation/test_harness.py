"""The evaluation harness: survives a kill, does not depend on its workers, and sees through masks."""

import importlib.util
import json
import os
import signal
import subprocess
import time

import pytest
import torch
from running import PACKAGE, WHITEBOX
from torch import nn

from evaluation.evaluated_model import EvaluatedModel, load_model
from evaluation.harness import evaluate
from evaluation.harness.plan import Plan, plan_suite
from evaluation.harness.shard import Job, ModelBackends
from evaluation.harness.suite import Attack, Suite, rows
from evaluation.harness.workers import ShardError, in_processes, in_this_process, on_ray
from training.data import load_mnist
from training.errors import TrainingError

COMMAND = [str(WHITEBOX), "evaluate", str(PACKAGE), "--sample"]


@pytest.fixture(scope="module")
def target():
    return load_model(PACKAGE)


@pytest.fixture(scope="module")
def test_digits():
    return load_mnist("test", (3, 5), sample=True)


def few(digits, count):
    """Some digits of both classes: the sample is ordered by class."""
    chosen = torch.linspace(0, len(digits) - 1, count).long()
    return type(digits)(
        digits.images[chosen], digits.classes[chosen], digits.labels, f"{count} digits", f"{count}"
    )


def without_times(card):
    """What two evaluations of one network must have in common."""
    kept = {name: value for name, value in card.items() if name not in ("seconds", "processes")}
    kept["attacks"] = [{**attack, "seconds": 0} for attack in card["attacks"]]
    kept["certified"] = [{**one, "milliseconds_an_image": 0} for one in card.get("certified", [])]
    return json.loads(json.dumps(kept))


def tiny(suite: Suite, **steps) -> Suite:
    """The same suite with few steps, few points and few digits."""
    kept = []
    for entry in suite.entries:
        if isinstance(entry, Attack):
            if entry.role == "curve" and entry.settings.epsilon not in (0.1, 0.3):
                continue
            count = steps.get(entry.kind, min(entry.settings.effective_steps, 5))
            settings = type(entry.settings)(**{**vars(entry.settings), "steps": count})
            kept.append(Attack(entry.name, settings, entry.sample_size, entry.role))
        else:
            kept.append(entry)
    return Suite(suite.epsilon, suite.classes, tuple(kept), suite.trust_certificates)


@pytest.fixture(scope="module")
def whole(target, test_digits, tmp_path_factory):
    """A card with every part, of a few digits and steps, in a directory of its own."""
    path = tmp_path_factory.mktemp("cards") / "whole.json"
    suite = tiny(plan_suite(target), square=30, boundary=30)
    return evaluate(target, few(test_digits, 12), path, suite, quiet=True), path


def test_card_has_every_part(whole):
    card, path = whole
    assert json.loads(path.read_text()) == card
    assert (card["kind"], card["learnable_numbers"], card["labels"]) == ("whitebox", 4810, [3, 5])
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


def test_worst_case_is_below_every_attack_and_above_the_certificate(whole):
    card, _ = whole
    worst = card["worst_case"]["withstood"]
    on_all = [attack["withstood"] for attack in card["attacks"] if attack["count"] == 12]
    assert card["certified"][2]["certified"] <= worst <= min(on_all)
    members = [a["withstood"] for a in card["attacks"] if a["name"] in ("apgd-ce", "fab-t", "square")]
    assert worst <= card["attacks"][-1]["withstood"] <= min(members)


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


class Thresholded(nn.Module):
    """A linear network behind a hard threshold: its gradient is 0 everywhere, its robustness a mask."""

    def __init__(self, digits):
        super().__init__()
        binary = (digits.images > 0.5).float().flatten(1)
        means = [binary[digits.classes == c].mean(dim=0) for c in (0, 1)]
        self.register_buffer("weights", torch.stack(means))
        self.register_buffer("offsets", -(self.weights**2).sum(dim=1) / 2)

    def forward(self, image):
        return (image > 0.5).float().flatten(1) @ self.weights.T + self.offsets


@pytest.fixture(scope="module")
def masked(test_digits, tmp_path_factory):
    """The card of a gradient-masked network, and its clean accuracy under a plain gradient attack."""
    target = EvaluatedModel("thresholded", Thresholded(test_digits), (3, 5), title="a mask")
    suite = tiny(plan_suite(target), **{"pgd-40": 40, "pgd-100x10": 10, "apgd-ce": 50, "square": 400})
    path = tmp_path_factory.mktemp("masked") / "card.json"
    return evaluate(target, few(test_digits, 40), path, suite, quiet=True)


def test_checks_fail_on_a_gradient_masked_network(masked):
    failed = {check["name"] for check in masked["checks"] if not check["passed"]}
    assert "unbounded epsilon reaches 0%" in failed
    assert "Square, a black box, breaks next to nothing that white-box attacks do not" in failed


def test_a_plain_module_gets_what_needs_no_look_inside(masked):
    assert (masked["kind"], masked["title"], masked["model"]) == ("baseline", "a mask", "thresholded")
    names = {attack["name"] for attack in masked["attacks"]}
    assert {"pgd-100x10", "fab-t", "square", "boundary", "auto"} <= names
    assert not {"bpda", "movable"} & names
    assert "certified" not in masked


class Revealed(Thresholded):
    """The same with a surrogate: the threshold's slope is replaced by 1."""

    def surrogate(self, _temperature):
        return StraightThrough(self)


class StraightThrough(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        smooth = image.flatten(1) @ self.network.weights.T
        return smooth + (self.network(image) - smooth).detach()


def test_a_surrogate_takes_the_mask_off(masked, test_digits, tmp_path):
    target = EvaluatedModel("revealed", Revealed(test_digits), (3, 5))
    suite = plan_suite(target, names=["pgd-40", "bpda"])
    card = evaluate(target, few(test_digits, 40), tmp_path / "card.json", suite, quiet=True)
    pgd, bpda = card["attacks"]
    assert bpda["robust_accuracy"] < pgd["robust_accuracy"] - 0.2
    (check,) = [check for check in card["checks"] if check["name"].startswith("BPDA")]
    assert not check["passed"]


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


class Dies(nn.Module):
    def forward(self, image):
        if multiprocessing_child():
            os._exit(13)
        return image.flatten(1)[:, :2]


class Raises(nn.Module):
    def forward(self, _image):
        raise ZeroDivisionError("on purpose")


def multiprocessing_child() -> bool:
    import multiprocessing

    return multiprocessing.parent_process() is not None


def job(network, test_digits) -> Job:
    digits = few(test_digits, 4)
    return Job(rows(0.3)["fgsm"], ModelBackends(network, None, None), 200, digits.images, digits.classes)


def test_a_dead_worker_is_an_error_that_names_the_shard(test_digits):
    with pytest.raises(ShardError, match=r"fgsm on images 200 to 203 failed: .*exit code 13"):
        list(in_processes(2)([job(Dies(), test_digits)]))


@pytest.mark.parametrize("workers", [in_this_process, in_processes(1)])
def test_a_failing_job_is_an_error_that_names_the_shard(test_digits, workers):
    with pytest.raises(ShardError, match=r"fgsm on images 200 to 203 failed: .*ZeroDivisionError"):
        list(workers([job(Raises(), test_digits)]))


def test_boundary_starts_at_digits_of_the_other_class(target, test_digits):
    plan = Plan.of(target, few(test_digits, 20), plan_suite(target))
    (boundary,) = plan.jobs(rows(0.3)["boundary"])
    assert (target.network(boundary.starts).argmax(dim=1) != boundary.classes).all()


def test_a_network_that_rules_an_attack_out_says_so(test_digits):
    closed = EvaluatedModel("closed", Thresholded(test_digits), (3, 5))
    with pytest.raises(TrainingError, match="rules out 'movable'"):
        plan_suite(closed, names=["movable"])
    with pytest.raises(TrainingError, match="There is no attack 'magic'"):
        plan_suite(closed, names=["magic"])


def test_ten_classes_get_autoattacks_standard_set():
    suite = plan_suite(EvaluatedModel("ten", nn.Identity(), tuple(range(10))), names=["auto"])
    assert [entry.name for entry in suite.entries] == ["apgd-ce", "apgd-t", "fab-t", "square"]


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_shards_spread_over_an_existing_ray_cluster(target, tmp_path):
    import ray

    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        address = context.address_info["gcs_address"]
        card = tmp_path / "card.json"
        arguments = ["--limit", "20", "--attack", "fgsm", "--out", str(card), "--ray", address]
        subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)
    finally:
        ray.shutdown()
    digits = load_mnist("test", (3, 5), sample=True).first(20)
    here = evaluate(target, digits, tmp_path / "here.json", plan_suite(target, names=["fgsm"]), quiet=True)
    assert without_times(json.loads(card.read_text())) == without_times(here)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_no_ray_cluster_is_one_clear_error_at_once():
    started = time.monotonic()
    with pytest.raises(TrainingError, match=r"There is no Ray cluster at 127\.0\.0\.1:1"):
        on_ray("127.0.0.1:1")
    assert time.monotonic() - started < 60
