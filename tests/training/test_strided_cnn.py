"""The CNN of the parameter front: its bounds hold, and recipes train it for them."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.certified import worst_logits
from training.data import load_mnist
from training.networks.strided_cnn import StridedCnn, StridedCnnConfig

DIGITS = load_mnist("test", (3, 5, 8), sample=True)
CONFIG = StridedCnnConfig(labels=(3, 5, 8), height=28, width=28, filters=4, kernel_size=3, hidden=10)


def network(seed=0):
    torch.manual_seed(seed)
    return StridedCnn(CONFIG)


def margins(logits, classes):
    return logits.gather(1, classes[:, None]) - logits  # (N, classes), 0 for the true one


@given(seed=st.integers(0, 1000), epsilon=st.floats(0, 0.4))
def test_no_image_of_the_ball_has_a_smaller_margin_than_the_bound(seed, epsilon):
    net, images, classes = network(seed), DIGITS.images[::30], DIGITS.classes[::30]
    with torch.no_grad():
        bounds = net.margin_bounds(images, classes, epsilon)
        for corner in (True, False):
            noise = torch.rand_like(images) * 2 - 1
            moved = (images + epsilon * (noise.sign() if corner else noise)).clamp(0, 1)
            assert (margins(net(moved), classes) >= bounds - 1e-4).all()


def test_without_a_ball_the_bound_is_the_margin():
    net, images, classes = network(), DIGITS.images[::30], DIGITS.classes[::30]
    with torch.no_grad():
        expected = margins(net(images), classes)
        torch.testing.assert_close(net.margin_bounds(images, classes, 0.0), expected)
        torch.testing.assert_close(worst_logits(net, images, classes, 0.0), -expected)


def test_images_of_odd_sides_are_taken():
    config = StridedCnnConfig(labels=(0, 1), height=9, width=15)
    assert StridedCnn(config)(torch.rand(2, 1, 9, 15)).shape == (2, 2)
