"""The checks for gradient masking fail on a network that masks its gradients, and BPDA takes the mask off."""

import numpy as np
import pytest
import torch
from evaluation_suites import few, tiny
from torch import nn

from evaluation.evaluated_model import EvaluatedModel
from evaluation.harness import evaluate
from evaluation.harness.checks import run_checks
from evaluation.harness.measurements import Measurement, Measurements
from evaluation.harness.plan import plan_suite
from evaluation.harness.suite import Attack
from model.attacks.settings import AttackSettings


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


def curve(withstood_of_300: dict[float, int]) -> Measurements:
    """Returns a curve of PGD on 300 images."""
    measured = {
        f"pgd-40@{epsilon}": Measurement(
            Attack(f"pgd-40@{epsilon}", AttackSettings("pgd", "linf", epsilon, 40), 300, "curve"),
            np.arange(300),
            np.arange(300) < withstood,
            1.0,
            0,
            {},
        )
        for epsilon, withstood in withstood_of_300.items()
    }
    return Measurements(0.3, np.ones(300, dtype=bool), measured)


@pytest.mark.parametrize(("more", "passed"), [(0, True), (3, True), (4, False)])
def test_a_curve_may_rise_by_as_much_as_its_tolerance(more, passed):
    (check,) = run_checks(curve({0.3: 286, 0.35: 283, 0.4: 283 + more}))
    assert check.passed == passed, check
