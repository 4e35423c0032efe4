"""Interval bounds: they hold at every layer, and no attack breaks a certificate."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.attacks import registry
from model.attacks.ball import Ball
from model.attacks.budget import Budget, margins
from model.attacks.catalogue import ATTACKS
from model.attacks.settings import AttackSettings
from model.attacks.single import attack_image, shape_of_another_class
from model.frozen import FrozenNetwork
from model.layers.convolutional import bright_map
from model.verification.interval_bounds import (
    Interval,
    both_ends,
    bright_interval,
    linear_interval,
    margin_lower_bound,
    shape_interval,
    two_step_interval,
)
from model.verification.verify import CERTAIN_MARGIN, Verifier

pixels = hnp.arrays(np.float32, (1, 1, 28, 28), elements=st.floats(0, 1, width=32))


@pytest.fixture(scope="module")
def verifier(frozen) -> Verifier:
    return Verifier(frozen)


@pytest.fixture(scope="module")
def classes(digits) -> torch.Tensor:
    return torch.from_numpy((digits[1] == 5).astype(np.int64))


def test_linear_bounds_are_exact_on_small_numbers():
    box = Interval(torch.tensor([0.0, -1.0]), torch.tensor([2.0, 3.0]))
    bounds = linear_interval(box, torch.tensor([[1.0, 1.0], [2.0, -1.0]]))
    assert bounds.lower.tolist() == [-1, -3]
    assert bounds.upper.tolist() == [5, 5]


def test_margin_takes_the_best_right_pose_for_every_wrong_one():
    rows = torch.tensor([[[1.0, 0, -1], [0, 1.0, -1]], [[-1.0, -1, 2], [-1, -1, 2]]])
    shapes = Interval(torch.tensor([[3.0, 1, 0]]), torch.tensor([[4.0, 5, 1]]))
    # pose 0 of the right class: 2 * s0 + s1 - 3 * s2 >= 6 + 1 - 3; pose 1: s0 + 2 * s1 - 3 * s2 >= 3 + 2 - 3
    assert margin_lower_bound(shapes, rows, torch.tensor([0])).tolist() == [4]


def test_without_a_ball_the_bound_is_the_margin(verifier, frozen, images, classes):
    bound = verifier.margin_lower_bound(images[:100], classes[:100], 0.0)
    logits = frozen(images[:100])
    margin = [margins(row[None], int(true)).item() for row, true in zip(logits, classes[:100], strict=True)]
    assert bound.tolist() == pytest.approx(margin, abs=1e-4)


def assert_between(value: torch.Tensor, bounds: Interval) -> None:
    assert (value >= bounds.lower - 1e-9).all()
    assert (value <= bounds.upper + 1e-9).all()


@given(centre=pixels, direction=pixels, epsilon=st.floats(0, 0.5), true=st.integers(0, 1))
def test_every_layer_stays_within_its_bounds(frozen, verifier, centre, direction, epsilon, true):
    image = torch.from_numpy(centre).double()
    moved = (image + epsilon * (2 * torch.from_numpy(direction).double() - 1)).clamp(0, 1)
    assert_layers_within(frozen, verifier, image, moved, epsilon, true)


def test_every_layer_stays_within_its_bounds_at_corners_of_real_balls(frozen, verifier, images):
    generator = torch.Generator().manual_seed(0)
    for image in images[::25].double():
        sign = torch.randint(0, 2, image.shape, generator=generator).double() * 2 - 1
        moved = (image + 0.2 * sign).clamp(0, 1)
        assert_layers_within(frozen, verifier, image[None], moved[None], 0.2, 0)


def assert_layers_within(frozen, verifier, image, moved, epsilon, true):
    exact = FrozenNetwork(*_parts(frozen)).double()
    trace = exact.trace(moved)
    two_step = two_step_interval(image, epsilon + 1e-12, verifier.bounds.terms)
    bright = bright_interval(two_step, both_ends(verifier.bounds.kernels))
    shapes = shape_interval(bright, verifier.bounds.templates)
    assert_between(trace.two_step[:, None], two_step)
    assert_between(bright_map(trace.two_step[:, None], verifier.bounds.kernels).value, bright)
    assert_between(trace.shapes, shapes)
    bound = verifier.margin_lower_bound(image, torch.tensor([true]), epsilon)
    assert margins(trace.logits, true).item() >= bound.item() - 1e-9


def _parts(frozen):
    return frozen.terms, frozen.kernels, frozen.templates, frozen.rows


def test_bounds_fall_as_epsilon_grows(verifier, images, classes):
    previous = torch.full((40,), torch.inf, dtype=torch.float64)
    for epsilon in np.linspace(0, 0.5, 11):
        bound = verifier.margin_lower_bound(images[::25], classes[::25], float(epsilon))
        assert (bound <= previous).all()
        previous = bound


def test_an_image_is_certified_at_its_radius_and_not_much_beyond(verifier, images, classes):
    some, true = images[::125], classes[::125]
    radius = verifier.certified_radius(some, true)
    assert (radius > 0).all()
    for image, label, each in zip(some[:, None], true[:, None], radius.tolist(), strict=True):
        assert verifier.certified(image, label, each)
        assert not verifier.certified(image, label, each + 0.002)


def test_a_misclassified_image_has_no_certificate(verifier, frozen, images):
    wrong = frozen(images[:20]).argmin(dim=1)
    assert not verifier.certified(images[:20], wrong, 0.0).any()
    assert verifier.certified_radius(images[:3], wrong[:3]).tolist() == [0, 0, 0]


def test_the_answer_does_not_depend_on_batch_mates(verifier, images, classes):
    together = verifier.margin_lower_bound(images[:20], classes[:20], 0.1)
    alone = verifier.margin_lower_bound(images[7:8], classes[7:8], 0.1)
    assert together[7].item() == pytest.approx(alone.item(), abs=1e-9)


SQUARE = pytest.param("square", marks=pytest.mark.slow)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "apgd", "fab", SQUARE, "deepfool"])
@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_no_attack_breaks_a_certificate(verifier, frozen, images, classes, attack, epsilon):
    some, true = images[::16], classes[::16]
    holds = verifier.certified(some, true, epsilon)
    assert holds.sum() > 20  # there are certificates to break
    some, true = some[holds], true[holds]
    steps = 100 if attack == "square" else 20
    found = registry.run(registry.Target(frozen, some, true), AttackSettings(attack, "linf", epsilon, steps))
    inside = torch.cat(
        [Ball(a[None], epsilon, "linf").project(b[None]) for a, b in zip(some, found, strict=True)]
    )
    assert (frozen(inside).argmax(dim=1) == true).all()


SLOW_ATTACKS = [SQUARE, *(pytest.param(name, marks=pytest.mark.slow) for name in ("boundary", "hopskipjump"))]


@pytest.mark.parametrize("attack", ["pgd", "apgd", *SLOW_ATTACKS])
def test_no_attack_breaks_a_certificate_at_the_certified_radius(verifier, frozen, images, classes, attack):
    steps = {"square": 300, "boundary": 200, "hopskipjump": 3}.get(attack, 40)
    for index in range(0, 1000, 250):
        image, true = images[index : index + 1], classes[index : index + 1]
        radius = verifier.certified_radius(image, true).item()
        asked = AttackSettings(attack, "linf", radius, steps)
        assert not attack_image(frozen, image, int(true), asked, Budget()).success
    assert CERTAIN_MARGIN > 1e-5


# Steps that let each attack try in a moment; `python -m benchmarks.certificates` has over 10,000 cases.
LIGHT_STEPS = {
    "fgsm": 1,
    "pgd": 20,
    "apgd": 20,
    "fab": 10,
    "square": 50,
    "boundary": 50,
    "hopskipjump": 1,
    "deepfool": 10,
    "bpda": 10,
    "movable": 5,
}


def test_the_property_covers_the_registry():
    # `auto` is apgd, fab and square; apgd-t needs four classes.
    assert ATTACKS.keys() - LIGHT_STEPS.keys() == {"auto", "apgd-t"}


@given(
    index=st.integers(0, 999),
    share=st.just(1.0) | st.floats(0.1, 1),
    attack=st.sampled_from(sorted(LIGHT_STEPS)),
    seed=st.integers(0, 2**31 - 1),
)
def test_whatever_the_image_the_epsilon_and_the_attack_a_certificate_holds(
    verifier, frozen, images, classes, index, share, attack, seed
):
    image, true = images[index : index + 1], classes[index : index + 1]
    epsilon = share * verifier.certified_radius(image, true).item()
    assume(epsilon > 0 and verifier.certified(image, true, epsilon))
    start = shape_of_another_class(frozen, int(true))
    target = registry.Target(frozen, image, true, lambda _images, _classes: start, frozen)
    found = registry.run(target, AttackSettings(attack, "linf", epsilon, LIGHT_STEPS[attack], seed=seed))
    inside = Ball(image, epsilon, "linf").project(found)
    assert Ball(image, epsilon, "linf").radius_of(inside) <= epsilon
    assert frozen(inside).argmax() == true
