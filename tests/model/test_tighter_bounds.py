"""Lagrangian bounds and HiGHS prove more than intervals, and never what an attack disproves."""

import numpy as np
import pytest
import torch
from running import ROOT

from model.attacks import registry
from model.attacks.budget import Budget, margins
from model.attacks.settings import AttackSettings
from model.layers.convolutional import bright_map
from model.network import WhiteBoxNetwork
from model.package_directory import newest_package
from model.verification.interval_bounds import Interval
from model.verification.lagrangian import LagrangianMarginProblem
from model.verification.linear_bounds import LinearBounds
from model.verification.verify import CERTAIN_MARGIN, SearchPolicy, Verifier

EPSILON = 0.3


@pytest.fixture(scope="module")
def certified():
    return WhiteBoxNetwork.from_package(newest_package(ROOT / "artifacts", "mnist-3v5-certified")).freeze()


@pytest.fixture(scope="module")
def verifier(certified):
    return Verifier(certified)


@pytest.fixture(scope="module")
def left_open(certified, verifier, images, digits):
    """Digits that are classified right but not certified by intervals: images, classes, broken by APGD."""
    classes = torch.from_numpy((digits[1] == 5).astype(np.int64))
    bounds = verifier.margin_lower_bound(images, classes, EPSILON)
    right = certified(images).argmax(dim=1) == classes
    chosen = (right & (bounds <= CERTAIN_MARGIN)).nonzero()[:, 0]
    target = registry.Target(certified, images[chosen], classes[chosen])
    found = registry.run(target, AttackSettings("apgd", "linf", EPSILON, 100))
    return images[chosen], classes[chosen], ~target.is_correct(found)


def problems(verifier, image, true):
    bounds = verifier.bounds
    box = Interval(*(bound.flatten() for bound in bounds.two_step_box(image, EPSILON)))
    linear = LinearBounds.over(box, bounds.kernels, (28, 28))
    return linear, LagrangianMarginProblem.against_every_pose(linear, bounds.templates, bounds.rows, true)


def verified(verifier, images, classes, bound):
    policy = SearchPolicy(bound, attack=False, seconds=20)
    return verifier.verify(images, classes, EPSILON, policy)


def test_what_an_attack_breaks_no_bound_certifies(verifier, left_open):
    images, classes, broken = left_open
    assert broken.any()
    some = broken.nonzero()[:6, 0]
    for result in verified(verifier, images[some], classes[some], "linear"):
        assert (result.verdict, result.method) == ("unknown", "linear")


@pytest.mark.slow
def test_tighter_bounds_certify_what_intervals_leave_open(certified, verifier, left_open):
    images, classes, broken = left_open
    some = (~broken).nonzero()[:3, 0]
    results = verified(verifier, images[some], classes[some], "milp")
    proved = some[[result.verdict == "certified" for result in results]]
    assert len(proved)
    assert {result.method for result in results if result.verdict == "certified"} <= {"linear", "milp"}
    target = registry.Target(certified, images[proved], classes[proved])
    for attack, steps in (("pgd", 100), ("fgsm", None), ("square", 500)):
        found = registry.run(target, AttackSettings(attack, "linf", EPSILON, steps, restarts=2))
        assert target.is_correct(found).all()


def test_linear_bounds_hold_at_points_of_the_box_and_beat_intervals(certified, verifier, left_open):
    images, classes, broken = left_open
    index = int((~broken).nonzero()[0, 0])
    image, true = images[index][None], int(classes[index])
    linear, pairs = problems(verifier, image, true)
    worst = min(pairs, key=LagrangianMarginProblem.interval_bound)
    bound = worst.lagrangian_bound(CERTAIN_MARGIN, Budget())
    assert bound > worst.interval_bound()
    generator = torch.Generator().manual_seed(0)
    lower, upper = linear.box
    for _ in range(200):
        ends = torch.rand(784, generator=generator) < torch.rand((), generator=generator)
        point = torch.where(ends, lower, upper).view(1, 1, 28, 28).float()
        bright = bright_map(point, certified.kernels.flatten(0, 1)).value.double().flatten()
        assert (bright <= linear.bright.upper + 1e-6).all()
        assert (bright >= linear.bright.lower - 1e-6).all()
        assert margins(certified.behind_two_step(point), true)[0] >= bound - 1e-4
