"""Baselines and ablations are what their names say."""

import pytest
import torch

from model.network import WhiteBoxNetwork
from training.networks.ablations import AblatedNetwork, AblationConfig
from training.networks.architectures import build
from training.networks.baselines import SmallCnn, ThresholdedCnnConfig
from training.recipes import PAPER


@pytest.fixture
def cnn():
    torch.manual_seed(0)
    return build(ThresholdedCnnConfig(labels=(3, 5), height=28, width=28, threshold=0.5))


def test_thresholded_answer_changes_only_when_a_pixel_crosses_the_threshold(cnn, images):
    some = images[::50]
    before = cnn(some)
    moved = torch.where(some > 0.5, 0.500001 + 0.4 * torch.rand_like(some), 0.5 * torch.rand_like(some))
    assert torch.equal(cnn(moved), before)
    crossed = some.clone()
    crossed[:, 0, 14, 14] = (some[:, 0, 14, 14] <= 0.5).float()
    assert (cnn(crossed) != before).any(dim=1).all()


def test_thresholded_gradient_is_there_and_zero(cnn, images):
    some = images[:3].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cnn(some).sum(), some)
    assert torch.equal(gradient, torch.zeros_like(some))


def test_a_pixel_on_the_threshold_is_not_above_it(cnn):
    assert cnn.above(torch.tensor([0.0, 0.5, 0.50001, 1.0])).tolist() == [0, 0, 1, 1]


def test_surrogate_answers_alike_and_has_the_gradient_behind_the_threshold(cnn, images):
    some = images[:3].clone().requires_grad_()
    surrogate = cnn.surrogate(0.1)
    assert torch.allclose(surrogate(some), cnn(some), atol=1e-5)
    (gradient,) = torch.autograd.grad(surrogate(some)[:, 0].sum(), some)
    above = cnn.above(images[:3]).requires_grad_()
    (expected,) = torch.autograd.grad(SmallCnn.forward(cnn, above)[:, 0].sum(), above)
    assert torch.allclose(gradient, expected, atol=1e-5)
    assert gradient.abs().max() > 0


def whole() -> WhiteBoxNetwork:
    torch.manual_seed(0)
    return WhiteBoxNetwork(PAPER.network)


def ablated(part) -> AblatedNetwork:
    torch.manual_seed(0)
    return AblatedNetwork(AblationConfig(part, PAPER.network))


def test_without_two_step_the_kernels_see_the_stretched_pixels(images):
    network, some = whole(), images[:5]
    expected = network.logical(network.affine(network.convolutional(2 * some - 1)))
    assert torch.equal(ablated("two-step")(some), expected)


def test_without_convolution_the_shapes_see_the_two_step_map(images):
    network, some = whole(), images[:5]
    expected = network.logical(network.affine(network.two_step(some)))
    assert torch.equal(ablated("convolution")(some), expected)


def test_without_poses_nothing_is_turned_shifted_or_learned_to_be(images):
    network, some = ablated("poses"), images[:5]
    pixels = network.two_step(some)
    kernels = network.convolutional.base
    bright = torch.nn.functional.conv2d(pixels, kernels[:, None], padding=2).amax(dim=1) / 5
    canvas = torch.nn.functional.pad(network.affine.base, [4] * 4)
    shapes = (bright.relu().flatten(1) @ canvas.flatten(1).T).relu()
    assert torch.allclose(network(some), network.logical(shapes), atol=1e-5)
    assert not network.affine.poses.requires_grad


def test_without_poses_it_is_still_a_white_box_and_without_a_layer_it_is_not(images):
    network = ablated("poses")
    frozen = network.freeze()
    assert torch.allclose(frozen(images[:5]), network(images[:5]), atol=1e-6)
    assert ablated("two-step").freeze() is None
    assert ablated("convolution").freeze() is None
