"""Attacks stay inside the ball and the box, keep their budget, and really attack."""

import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.attacks.ball import Ball, distance
from model.attacks.budget import ADVERSARIAL_MARGIN, Budget
from model.attacks.catalogue import ATTACKS
from model.attacks.settings import NORMS, SERVED_ATTACKS, AttackSettings
from model.attacks.single import attack_image, shape_of_another_class

QUICK_STEPS = {"square": 100, "boundary": 50, "hopskipjump": 2}


def quick(attack, norm, epsilon, seed=0):
    return AttackSettings(attack, norm, epsilon, QUICK_STEPS.get(attack, 10), seed=seed)


def assert_inside(image, found, norm, epsilon):
    change = found.double() - image.double()
    radius = change.abs().max() if norm == "linf" else change.norm()
    assert radius <= epsilon
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", SERVED_ATTACKS)
def test_answer_is_inside_ball_and_box_and_says_the_truth(frozen, images, digits, attack, norm):
    epsilon = {"linf": 0.3, "l2": 3.0}[norm]
    for index in (0, 700):
        image, true_class = images[index : index + 1], int(digits[1][index] == 5)
        result = attack_image(frozen, image, true_class, quick(attack, norm, epsilon), Budget(600))
        assert_inside(image, result.image, norm, epsilon)
        fooled = int(frozen(result.image).argmax()) != true_class
        assert fooled == result.success
        assert result.distance == distance(image, result.image)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    hnp.arrays(np.float32, (1, 1, 28, 28), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float32, (1, 1, 28, 28), elements=st.floats(-2, 2, width=32)),
    st.floats(0, 1),
    st.sampled_from(NORMS),
)
def test_projection_never_leaves_ball_and_box(centre, other, epsilon, norm):
    centre, other = torch.from_numpy(centre), torch.from_numpy(other)
    assert_inside(centre, Ball(centre, epsilon, norm).project(other), norm, epsilon)


def test_projection_leaves_what_is_inside_alone():
    centre = torch.full((1, 1, 28, 28), 0.5)
    other = centre + 0.1
    assert torch.equal(Ball(centre, 0.2, "linf").project(other), other)
    assert torch.equal(Ball(centre, 3.0, "l2").project(other), other)


@pytest.fixture(scope="module")
def weakest(frozen, images, digits) -> list[tuple[torch.Tensor, int]]:
    """The ten digits with the smallest margins of those that are classified right."""
    logits = frozen(images)
    classes = torch.from_numpy((digits[1] == 5).astype(np.int64))
    margin = (logits[:, 0] - logits[:, 1]) * torch.where(classes == 0, 1, -1)
    order = margin.where(margin > 0.01, torch.inf).argsort()[:10]
    return [(images[i : i + 1], int(classes[i])) for i in order.tolist()]


@pytest.mark.parametrize("attack", SERVED_ATTACKS)
def test_every_attack_fools_the_network_on_a_weak_digit(frozen, weakest, attack):
    steps = {"boundary": 300, "hopskipjump": 8}.get(attack)
    for image, true_class in weakest:
        asked = AttackSettings(attack, "linf", 0.3, steps)
        result = attack_image(frozen, image, true_class, asked, Budget())
        if result.success:
            break
    assert result.success
    assert 0 < result.distance.linf <= 0.3
    logits = frozen(result.image)[0]
    assert logits[1 - true_class] - logits[true_class] >= ADVERSARIAL_MARGIN
    assert result.stopped_by == ("finished" if ATTACKS[attack].minimum_norm else "success")


def test_a_misclassified_image_needs_no_attack(frozen, images):
    wrong_class = int(frozen(images[:1]).argmin())
    result = attack_image(frozen, images[:1], wrong_class, AttackSettings("pgd", "linf", 0.3), Budget())
    assert (result.success, result.queries, result.distance.linf) == (True, 1, 0.0)


@pytest.mark.parametrize("attack", ["pgd", "apgd", "fab", "square", "boundary", "hopskipjump", "auto"])
def test_query_budget_is_kept(frozen, images, attack):
    result = attack_image(frozen, images[:1], 0, AttackSettings(attack, "linf", 0.01), Budget(30))
    assert result.stopped_by == "query_budget"
    assert result.queries <= 30


def test_deadline_is_kept(frozen, images):
    started = time.monotonic()
    budget = Budget(deadline=started + 0.5)
    result = attack_image(frozen, images[:1], 0, AttackSettings("square", "linf", 0.3, steps=100_000), budget)
    assert result.stopped_by == "deadline"
    assert time.monotonic() - started < 5


def test_cancellation_stops_an_attack(frozen, images):
    asked = []

    def cancelled():
        asked.append(True)
        return len(asked) > 20

    budget = Budget(cancelled=cancelled)
    result = attack_image(frozen, images[:1], 0, AttackSettings("square", "linf", 0.01), budget)
    assert result.stopped_by == "cancelled"


@pytest.mark.parametrize("attack", ["pgd", "apgd", "square", "boundary"])
def test_the_same_seed_gives_the_same_answer(frozen, images, attack):
    runs = [
        attack_image(frozen, images[3:4], 0, quick(attack, "linf", 0.3, seed), Budget()) for seed in (5, 5)
    ]
    assert torch.equal(runs[0].image, runs[1].image)
    assert runs[0].queries == runs[1].queries


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", SERVED_ATTACKS)
def test_degenerate_images_and_balls_break_no_attack(frozen, attack, norm):
    blank, grey = torch.zeros(1, 1, 28, 28), torch.full((1, 1, 28, 28), 0.5)
    for image, epsilon in ((blank, 0.3), (grey, 1e-9), (blank, 0.0), (grey, 28.0)):
        for true_class in (0, 1):
            settings = quick(attack, norm, epsilon)
            result = attack_image(frozen, image, true_class, settings, Budget(100))
            assert_inside(image, result.image, norm, epsilon)


def test_zero_epsilon_changes_nothing(frozen, images):
    for attack in ("fgsm", "pgd", "apgd", "square"):
        result = attack_image(frozen, images[:1], 0, quick(attack, "linf", 0.0), Budget())
        assert not result.success
        assert torch.equal(result.image, images[:1])


def test_a_white_box_draws_the_other_class(frozen):
    for true_class in (0, 1):
        drawn = shape_of_another_class(frozen, true_class)
        assert int(frozen(drawn).argmax()) != true_class
