"""The bounds that training uses equal the plain interval bounds, and so do their gradients."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from model.network import NetworkConfig, WhiteBoxNetwork
from model.verification.interval_bounds import (
    both_ends,
    bright_interval,
    margin_lower_bounds,
    shape_interval,
    two_step_interval,
)
from training import native
from training.certified import generalised_cross_entropy, worst_logits
from training.data import load_mnist

SMALL = NetworkConfig(
    labels=(2, 3, 5),
    height=28,
    width=28,
    kernel_size=3,
    rotations=8,
    shapes_per_class=2,
    shape_size=12,
    poses=5,
    shape_scatter=3.0,
)
SIZES = [
    SMALL,
    replace(SMALL, kernels=3, kernel_size=5, rotations=6),
    replace(SMALL, kernel_size=7, shape_size=20, shapes_per_class=1),
    replace(SMALL, kernel_size=9),
    replace(SMALL, shape_size=11),
]


@pytest.fixture(scope="module")
def some():
    digits = load_mnist("train", (2, 3, 5), sample=True)
    return digits.images[::20], digits.classes[::20]  # 60 digits of all classes


def plain_worst_logits(network, images, classes, epsilon):
    pixels = two_step_interval(images, epsilon, network.two_step.terms())
    bright = bright_interval(pixels, both_ends(network.convolutional.expand().flatten(0, 1)))
    shapes = shape_interval(bright, network.affine.expand())
    margins = margin_lower_bounds(shapes, network.logical.expand(), classes)
    wrong = F.one_hot(classes, margins.shape[1] + 1) == 0
    return torch.zeros(wrong.shape).masked_scatter(wrong, -margins)


def started(config: NetworkConfig) -> WhiteBoxNetwork:
    """A network whose numbers all differ and whose shapes partly leave the canvas."""
    torch.manual_seed(0)
    network = WhiteBoxNetwork(config)
    with torch.no_grad():
        network.two_step.thresholds.copy_(torch.tensor([0.35, 0.6]))
        network.affine.poses.add_(torch.randn_like(network.affine.poses) * torch.tensor([0.2, 0.2, 3.0]))
        network.logical.base.add_(0.1 * torch.randn_like(network.logical.base))
    return network


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("config", SIZES)
def test_worst_logits_and_their_gradients_are_those_of_the_plain_bounds(
    config, compiled, threads, some, monkeypatch
):
    if not compiled:
        monkeypatch.setattr(native, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("no C compiler")
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    network = started(config)
    found = []
    for way in (plain_worst_logits, worst_logits):
        network.zero_grad()
        logits = way(network, *some, 0.2)
        generalised_cross_entropy(logits, some[1], 0.5).backward()
        found.append((logits.detach(), {name: value.grad for name, value in network.named_parameters()}))
    (plain, plain_gradients), (fast, gradients) = found
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=0)
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_templates_are_those_of_the_layer_wherever_poses_take_them():
    if native.library() is None:
        pytest.skip("no C compiler")
    layer = started(SMALL).affine
    with torch.no_grad():
        layer.poses[0, 0] = torch.tensor([[1.0, 0, 0], [0, 1, 0]])  # as it is
        layer.poses[0, 1] = torch.tensor([[0.0, -1, 40], [1, 0, 0]])  # turned and out of sight
        layer.poses[0, 2] = torch.tensor([[0.0, 0, 0], [0, 0, 0]])  # one point all over
        layer.poses[0, 3] = torch.tensor([[0.1, 0, 0], [0, 0.1, 0]])  # ten times as large
    posed = native.Templates.apply(layer.base, layer.poses)
    torch.testing.assert_close(posed, layer.expand().flatten(2), atol=1e-5, rtol=0)


def test_without_a_compiler_there_are_no_compiled_loops(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert native.library.__wrapped__() is None


def test_a_compiler_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native.library.__wrapped__() is None
    assert not list(tmp_path.rglob("*.so"))


@pytest.mark.skipif(native.library() is None, reason="needs a C compiler")
def test_the_loops_compute_the_same_with_threads_of_their_own():
    network = WhiteBoxNetwork(SMALL)
    digits = load_mnist("train", SMALL.labels, sample=True).first(60)

    def gradients() -> list[torch.Tensor]:
        logits = worst_logits(network, digits.images, digits.classes, 0.2)
        loss = generalised_cross_entropy(logits, digits.classes, 0.5)
        return list(torch.autograd.grad(loss, list(network.parameters())))

    before, expected = torch.get_num_threads(), gradients()
    with native.threads_apart():
        assert torch.get_num_threads() == 1
        found = gradients()
    assert torch.get_num_threads() == before
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
