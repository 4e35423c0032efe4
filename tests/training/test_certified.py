"""The objective that trains for proofs: its loss bounds what any attack can reach."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from model.attacks.budget import margins
from training.certified import (
    Certified,
    MtlIbp,
    generalised_cross_entropy,
    salt_and_pepper,
    worst_logits,
)
from training.data import load_mnist
from training.errors import TrainingError


@pytest.fixture(scope="module")
def some():
    return load_mnist("validation", (3, 5), sample=True)


def test_without_a_ball_the_worst_margins_are_the_margins(network, some):
    with torch.no_grad():
        logits = network(some.images)
        worst = worst_logits(network, some.images, some.classes, 0.0)
    found = worst.gather(1, some.classes[:, None]) - worst.gather(1, 1 - some.classes[:, None])
    real = logits.gather(1, some.classes[:, None]) - logits.gather(1, 1 - some.classes[:, None])
    torch.testing.assert_close(found, real, atol=1e-4, rtol=0)


def test_no_image_in_the_ball_is_below_the_worst_margin(network, some):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        worst = worst_logits(network, some.images, some.classes, 0.2)
        for _ in range(10):
            signs = torch.randint(-1, 2, some.images.shape, generator=generator)
            logits = network((some.images + 0.2 * signs).clamp(0, 1))
            for row, bound, true in zip(logits, worst, some.classes.tolist(), strict=True):
                assert margins(row[None], true) >= margins(bound[None], true) - 1e-4


def test_the_loss_is_cross_entropy_for_q_0_and_the_expected_error_for_q_1():
    logits, classes = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([0])  # p = 1 / 4
    assert generalised_cross_entropy(logits, classes, 0.0).item() == pytest.approx(math.log(4))
    assert generalised_cross_entropy(logits, classes, 1.0).item() == pytest.approx(3 / 4)
    assert generalised_cross_entropy(logits, classes, 0.5).item() == pytest.approx(1.0)


def test_epsilon_grows_with_the_training(network, some):
    generator = torch.Generator()
    losses = [
        Certified(0.305, 0.3, q=0.0).loss(network, some.images, some.classes, done, generator)[0].item()
        for done in (0.0, 0.1, 0.3, 0.6, 1.0)
    ]
    assert losses[0] == losses[1] < losses[2] < losses[3] == losses[4]


def test_salt_and_pepper_is_as_much_of_each_on_the_share_that_was_asked_for(some):
    salted = salt_and_pepper(some.images, 0.1, torch.Generator().manual_seed(0))
    changed = salted[salted != some.images]
    assert set(changed.tolist()) == {0.0, 1.0}
    grey = torch.full((50, 1, 28, 28), 0.5)
    salted = salt_and_pepper(grey, 0.1, torch.Generator().manual_seed(0))
    assert (salted == 0).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (salted == 1).float().mean().item() == pytest.approx(0.05, abs=0.005)


def test_from_its_share_of_the_training_on_salted_images_count_too(network, some):
    plain = Certified(0.305, 0.3)
    salted = replace(plain, salted=0.1, salted_weight=0.5, salted_from=0.5)

    def loss(objective, done):
        generator = torch.Generator().manual_seed(1)
        return objective.loss(network, some.images, some.classes, done, generator)[0]

    assert loss(salted, 0.4) == loss(plain, 0.4)
    read = network(salt_and_pepper(some.images, 0.1, torch.Generator().manual_seed(1)))
    more = 0.5 * torch.nn.functional.cross_entropy(read, some.classes)
    torch.testing.assert_close(loss(salted, 0.5), loss(plain, 0.5) + more)


def test_an_attack_takes_the_rest_of_the_bounds_share(network, some):
    def loss(objective):
        return objective.loss(network, some.images, some.classes, 1.0, torch.Generator().manual_seed(1))[0]

    bounds = Certified(0.305, 0.3)
    mixed = {share: loss(MtlIbp(0.305, 0.3, bounded=share)) for share in (0.0, 0.25, 1.0)}
    torch.testing.assert_close(mixed[1.0], loss(bounds))
    torch.testing.assert_close(mixed[0.25], 0.75 * mixed[0.0] + 0.25 * mixed[1.0])
    clean = torch.nn.functional.cross_entropy(network(some.images), some.classes)
    assert clean < mixed[0.0]  # the attack raises the loss


def test_another_network_is_refused(some):
    with pytest.raises(TrainingError, match="white-box networks and strided CNNs only"):
        worst_logits(nn.Flatten(), some.images, some.classes, 0.1)
