"""LinearBounds and HiGHS prove more than intervals, and never what an attack disproves."""

import time

import numpy as np
import pytest
import torch
from running import ROOT

from model.attacks import registry
from model.attacks.budget import Budget, margins
from model.attacks.settings import AttackSettings
from model.layers.convolutional import bright_map
from model.network import WhiteBoxNetwork
from model.package import read_package
from model.verification import CERTAIN_MARGIN, Certifier
from model.verification.interval_bounds import Interval
from model.verification.lagrangian import LagrangianMarginProblem
from model.verification.linear_bounds import LinearBounds
from model.verification.stages import decide

EPSILON = 0.3


@pytest.fixture(scope="module")
def certified():
    return WhiteBoxNetwork.from_package(
        read_package(ROOT / "artifacts" / "mnist-3v5-certified" / "2")
    ).freeze()


@pytest.fixture(scope="module")
def certifier(certified):
    return Certifier.of(certified)


@pytest.fixture(scope="module")
def left_open(certified, certifier, images, digits):
    """Digits that are classified right but not certified by intervals: images, classes, broken by APGD."""
    classes = torch.from_numpy((digits[1] == 5).astype(np.int64))
    pieces = zip(images.split(50), classes.split(50), strict=True)
    bounds = torch.cat([certifier.margin_lower_bound(*piece, EPSILON) for piece in pieces])
    right = certified(images).argmax(dim=1) == classes
    chosen = (right & (bounds <= CERTAIN_MARGIN)).nonzero()[:, 0]
    target = registry.Target(certified, images[chosen], classes[chosen])
    found = registry.run(target, AttackSettings("apgd", "linf", EPSILON, 100))
    return images[chosen], classes[chosen], ~target.is_correct(found)


def problems(certifier, image, true):
    box = Interval(*(bound.flatten() for bound in certifier.two_step_box(image, EPSILON)))
    linear = LinearBounds.over(box, certifier.kernels, (28, 28))
    return linear, LagrangianMarginProblem.against_every_pose(
        linear, certifier.templates, certifier.rows, true
    )


def test_what_an_attack_breaks_no_stage_certifies(certifier, left_open):
    images, classes, broken = left_open
    assert broken.any()
    for index in broken.nonzero()[:6, 0].tolist():
        budget = Budget(deadline=time.monotonic() + 20)
        decision = decide(certifier, images[index][None], int(classes[index]), EPSILON, "linear", budget)
        assert not decision.certified


def test_later_stages_certify_what_intervals_leave_open(certified, certifier, left_open):
    images, classes, broken = left_open
    decisions = {
        index: decide(
            certifier,
            images[index][None],
            int(classes[index]),
            EPSILON,
            "milp",
            Budget(deadline=time.monotonic() + 20),
        )
        for index in (~broken).nonzero()[:3, 0].tolist()
    }
    proved = [index for index, decision in decisions.items() if decision.certified]
    assert proved
    target = registry.Target(certified, images[proved], classes[proved])
    for attack, steps in (("pgd", 100), ("fgsm", None), ("square", 500)):
        found = registry.run(target, AttackSettings(attack, "linf", EPSILON, steps, restarts=2))
        assert target.is_correct(found).all()


def test_linear_hold_at_points_of_the_box_and_beat_intervals(certified, certifier, left_open):
    images, classes, broken = left_open
    index = int((~broken).nonzero()[0, 0])
    image, true = images[index][None], int(classes[index])
    linear, against = problems(certifier, image, true)
    worst = min(against, key=LagrangianMarginProblem.interval_bound)
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
