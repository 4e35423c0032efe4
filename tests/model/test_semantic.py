"""The five kinds of semantic features on small exact numbers, and layers against the definition."""

import math

import pytest
import torch

from model.layers.affine import AffineFeature, AffineLayer, match_shapes
from model.layers.convolutional import ConvolutionalFeature, ConvolutionalLayer, bright_map
from model.layers.logical import LogicalFeature, LogicalLayer, XorFeature, match_classes
from model.layers.two_step import RealValuedFeature
from model.layers.warp import warp


def test_real_valued_feature_matches_what_lies_in_its_interval():
    feature = RealValuedFeature(base=0.5, low=-0.1, high=0.2)
    assert feature.sf_match(torch.tensor([0.3, 0.45, 0.5, 0.7, 0.8])).tolist() == [0, 1, 1, 1, 0]


def test_xor_feature_rolls_its_hot_entry_to_the_best_place():
    feature = XorFeature(torch.tensor([2.0, 0, 0]))
    value, pose = feature.sf_match(torch.tensor([1.0, 5.0, 3.0]))
    assert (value.item(), pose) == (10.0, 1)
    assert feature.locality(torch.tensor(2)).tolist() == [0, 0, 2]


def test_logical_feature_rolls_one_hot_blocks_and_leaves_dense_ones():
    base = torch.tensor([1.0, 0, -0.5, -0.25, 2.0, 0, 0])
    feature = LogicalFeature(base, blocks=[(0, 2), (4, 7)])  # dense: places 2 and 3
    assert len(feature.poses) == 2 * 3
    assert feature.locality(torch.tensor([1, 2])).tolist() == [0, 1, -0.5, -0.25, 0, 0, 2]
    value, pose = feature.sf_match(torch.tensor([0.0, 3, 2, 4, 1, 1, 7]))
    assert value.item() == 3 - 1 - 1 + 14
    assert feature.poses[pose].tolist() == [1, 2]


def test_logical_feature_without_one_hot_blocks_is_an_inner_product():
    value, _ = LogicalFeature(torch.tensor([1.0, -2]), blocks=[]).sf_match(torch.tensor([3.0, 1]))
    assert value.item() == 1


def test_convolutional_feature_finds_the_rotation_of_its_stroke():
    horizontal = torch.zeros(1, 1, 5, 5)
    horizontal[0, 0, 2] = 1.0
    quarter_turns = torch.arange(4) * math.pi / 2
    feature = ConvolutionalFeature(horizontal, quarter_turns)
    vertical_patch = horizontal[0].transpose(1, 2)
    value, pose = feature.sf_match(vertical_patch)
    assert value.item() == pytest.approx(math.sqrt(5))  # <v, v / ||v||> of five ones
    assert pose in (1, 3)


def test_convolutional_feature_takes_the_best_of_its_output_filters():
    filters = torch.zeros(2, 1, 3, 3)
    filters[0, 0, 1, 1], filters[1, 0, 0, 0] = 1.0, 4.0
    patch = torch.zeros(1, 3, 3)
    patch[0, 0, 0] = 3.0
    value, _ = ConvolutionalFeature(filters, torch.zeros(1)).sf_match(patch)
    assert value.item() == 3.0  # the second filter has norm 1 after normalisation


def test_affine_feature_finds_the_shift_of_its_dot():
    dot = torch.zeros(5, 5)
    dot[2, 2] = 7.0
    right = torch.tensor([[1.0, 0, -1], [0, 1, 0]])  # reads one pixel to the left: the dot moves right
    poses = torch.stack([torch.eye(2, 3), right])
    moved = torch.zeros(5, 5)
    moved[2, 3] = 2.0
    value, pose = AffineFeature(dot, poses).sf_match(moved)
    assert (value.item(), pose) == (2.0, 1)


def test_warp_by_the_identity_changes_nothing():
    image = torch.rand(3, 6, 6)
    assert torch.allclose(warp(image, torch.eye(2, 3).repeat(3, 1, 1)), image, atol=1e-6)


def test_warp_fills_with_zeros_from_outside():
    far = torch.tensor([[1.0, 0, 100], [0, 1, 0]])
    assert warp(torch.ones(1, 4, 4), far[None]).abs().sum() == 0


@pytest.fixture
def small_layers():
    torch.manual_seed(0)
    return (
        ConvolutionalLayer(kernels=2, kernel_size=3, rotations=8),
        AffineLayer(shapes=3, shape_size=5, poses=4, image_size=(9, 9)),
        LogicalLayer(classes=2, shapes_per_class=3),
    )


def test_convolutional_layer_is_sf_match_at_every_pixel(small_layers):
    layer, pixels = small_layers[0], torch.randn(2, 1, 6, 6)
    feature = layer.features()[0]
    padded = torch.nn.functional.pad(pixels, [1, 1, 1, 1])
    bright = layer(pixels)
    for y in range(6):
        for x in range(6):
            for image in range(2):
                value, _ = feature.sf_match(padded[image, :, y : y + 3, x : x + 3])
                assert bright[image, 0, y, x].item() == pytest.approx(max(0, value.item()) / 3, abs=1e-6)


def test_affine_layer_is_sf_match_of_each_feature(small_layers):
    layer, bright = small_layers[1], torch.rand(4, 1, 9, 9)
    matched = match_shapes(bright, layer.expand())
    for index, feature in enumerate(layer.features()):
        for image in range(4):
            value, pose = feature.sf_match(bright[image, 0])
            assert matched.activation[image, index].item() == pytest.approx(max(0, value.item()), abs=1e-5)
            assert matched.pose[image, index].item() == pose


def test_logical_layer_is_sf_match_of_each_class(small_layers):
    layer, shapes = small_layers[2], torch.rand(5, 6)
    matched = match_classes(shapes, layer.expand())
    for row, feature in enumerate(layer.features()):
        for image in range(5):
            value, pose = feature.sf_match(shapes[image])
            assert matched.logit[image, row].item() == pytest.approx(value.item(), abs=1e-6)
            assert matched.pose[image, row].item() == pose


def test_logical_layer_starts_as_the_paper_says():
    base = LogicalLayer(classes=2, shapes_per_class=4).base
    own, other = [0.4, 0, 0, 0], [-0.1] * 4
    assert torch.allclose(base, torch.tensor([own + other, other + own]))


def test_winners_in_pieces_equal_the_plain_maximum_with_its_gradient():
    torch.manual_seed(1)
    kernels = torch.randn(6, 5, 5).requires_grad_()
    pixels = torch.randn(40, 1, 12, 12).requires_grad_()  # more images than one piece holds
    weights = torch.randn(40, 1, 12, 12)
    plain = torch.nn.functional.conv2d(pixels, kernels[:, None], padding=2).amax(1, keepdim=True)
    expected = torch.autograd.grad(((plain / 5).relu() * weights).sum(), [pixels, kernels])
    response = bright_map(pixels, kernels)
    got = torch.autograd.grad((response.value * weights).sum(), [pixels, kernels])
    assert torch.allclose(response.value, (plain / 5).relu(), atol=1e-5)
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)
