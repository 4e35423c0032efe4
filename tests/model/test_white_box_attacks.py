"""BPDA and the attack on movable pixels: exact forward, inside ball and box, and really dangerous."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.attacks import registry
from model.attacks.bpda import SmoothSurrogate
from model.attacks.budget import margins
from model.attacks.settings import AttackSettings
from model.attacks.unsaturated import Unsaturated
from model.layers.two_step import two_step, two_step_slope


@pytest.fixture(scope="module")
def classes(digits):
    return torch.from_numpy((digits[1] == 5).astype("int64"))


@pytest.fixture(scope="module")
def weak(frozen, images, classes):
    """Indices of the fifteen digits with the smallest positive margins."""
    margin = margins(frozen(images), classes)
    return margin.where(margin > 0, torch.inf).argsort()[:15]


def attacked(frozen, images, classes, name, epsilon=0.3, steps=20, seed=0):
    target = registry.Target(frozen, images, classes, white_box=frozen)
    return registry.run(target, AttackSettings(name, "linf", epsilon, steps, seed=seed))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["bpda", "movable"]),
    first=st.integers(0, 998),
    epsilon=st.one_of(st.just(0.0), st.just(1.0), st.floats(0.001, 0.6)),
)
def test_they_stay_in_ball_and_box(frozen, images, classes, name, first, epsilon):
    chosen = slice(first, first + 2)
    found = attacked(frozen, images[chosen], classes[chosen], name, epsilon, steps=5)
    assert (found.double() - images[chosen].double()).abs().max() <= epsilon + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def test_bpda_fools_the_shipped_model_where_it_is_weak(frozen, images, classes, weak):
    found = attacked(frozen, images[weak], classes[weak], "bpda")
    assert int((margins(frozen(found), classes[weak]) < 0).sum()) >= 5


def test_movable_pixels_find_at_least_what_pgd_finds(frozen, images, classes, weak):
    found = {name: attacked(frozen, images[weak], classes[weak], name) for name in ("pgd", "movable")}
    pgd, movable = (int((margins(frozen(f), classes[weak]) < 0).sum()) for f in found.values())
    assert 5 <= pgd <= movable


def test_movable_leaves_pixels_alone_that_cannot_matter(frozen, images, classes, weak):
    chosen = weak[:5]
    found = attacked(frozen, images[chosen], classes[chosen], "movable")
    before, after = two_step(images[chosen], frozen.terms), two_step(found, frozen.terms)
    moved_far = (after - before).abs() > 0.2
    assert moved_far.any()
    assert moved_far.float().mean() < 0.25


@pytest.mark.parametrize("temperature", [0.01, 0.3])
def test_surrogate_goes_forward_as_the_network_does(frozen, images, temperature):
    found = SmoothSurrogate(frozen, temperature)(images[:50])
    assert (found - frozen(images[:50])).abs().max() <= 1e-5


def test_surrogate_goes_backward_more_smoothly(frozen, images):
    def gradient(network):
        image = images[:20].clone().requires_grad_()
        network(image)[:, 0].sum().backward()
        return image.grad

    exact, smooth = gradient(frozen), gradient(SmoothSurrogate(frozen, 0.03))
    plateau = two_step_slope(images[:20], frozen.terms) < 0.05
    assert exact[plateau].abs().mean() < 0.2 * smooth[plateau].abs().mean()
    assert (exact == 0).sum() > (smooth == 0).sum()


def test_white_box_attacks_refuse_a_closed_model(frozen, images, classes):
    for name in ("bpda", "movable"):
        with pytest.raises(ValueError, match="white box"):
            registry.run(registry.Target(frozen, images[:1], classes[:1]), AttackSettings(name, "linf", 0.3))


def test_cross_entropy_keeps_its_gradient_on_a_very_confident_network(frozen, images, classes):
    class Confident(torch.nn.Module):
        def forward(self, images):
            return 1000 * frozen(images)

    chosen = margins(frozen(images), classes) > 0.5
    images, classes = images[chosen][:20], classes[chosen][:20]

    def gradient(network):
        image = images.clone().requires_grad_()
        torch.nn.functional.cross_entropy(network(image), classes, reduction="sum").backward()
        return image.grad.flatten(1)

    assert (gradient(Confident()) == 0).all()
    bounded = Unsaturated(Confident(), images, classes)
    cosine = torch.nn.functional.cosine_similarity(gradient(bounded), gradient(frozen))
    assert cosine.min() > 0.99
    assert torch.equal(bounded(images).argmax(1), frozen(images).argmax(1))
