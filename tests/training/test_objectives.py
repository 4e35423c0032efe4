"""Objectives and schedules: what they compute on real digits, and that training with them repeats."""

import pytest
import torch
import torch.nn.functional as F

from training.data import load_mnist
from training.objectives import Adversarial, CrossEntropy, count_correct
from training.schedules import CosineRestarts, LinearDecay, OneCycle


@pytest.fixture(scope="module")
def some():
    return load_mnist("train", (3, 5), sample=True).first(60)


def test_cross_entropy_is_torchs(network, some):
    loss, logits = CrossEntropy().loss(network, some.images, some.classes, 0.0, torch.Generator())
    assert torch.equal(logits, network(some.images))
    assert loss == F.cross_entropy(logits, some.classes)


def test_adversarial_images_stay_in_the_ball_and_turn_more_digits(network, some):
    objective = Adversarial(epsilon=0.3, steps=5, step_size=0.1)
    moved = objective.attack(network, some.images, some.classes, 1.0, torch.Generator().manual_seed(0))
    assert (moved - some.images).abs().max() <= 0.3 + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    before, after = (count_correct(network, images, some.classes) for images in (some.images, moved))
    assert after < before


def test_adversarial_loss_is_the_cross_entropy_of_what_its_attack_finds(network, some):
    objective = Adversarial(epsilon=0.3, steps=2, step_size=0.1)
    drawn = (torch.Generator().manual_seed(3) for _ in range(2))
    loss, _ = objective.loss(network, some.images, some.classes, 1.0, next(drawn))
    moved = objective.attack(network, some.images, some.classes, 1.0, next(drawn))
    assert loss == F.cross_entropy(network(moved), some.classes)


def test_adversarial_epsilon_grows_over_the_ramp(network, some):
    objective = Adversarial(epsilon=0.4, steps=4, step_size=0.2, random_start=False, ramp=0.5)
    start, _ = objective.loss(network, some.images, some.classes, 0.0, torch.Generator())
    clean, _ = CrossEntropy().loss(network, some.images, some.classes, 0.0, torch.Generator())
    assert start == clean
    losses = [
        objective.loss(network, some.images, some.classes, done, torch.Generator())[0].item()
        for done in (0.1, 0.5, 1.0)
    ]
    assert losses[0] < losses[1] == losses[2]


def test_an_attack_leaves_the_caller_s_images_and_the_network_alone(network, some):
    copy = some.images.clone()
    Adversarial(0.3, steps=1, random_start=False).attack(
        network, some.images, some.classes, 1.0, torch.Generator()
    )
    assert torch.equal(some.images, copy)
    assert not some.images.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_linear_decay_is_constant_and_then_falls_to_zero():
    schedule = LinearDecay(decay_epochs=5)
    assert [schedule.factor(done, 15) for done in (0, 9.5, 10, 12.5, 15)] == [1, 1, 1, 0.5, 0]
    assert schedule.shortened(3, 15) == LinearDecay(1)


def test_one_cycle_climbs_to_one_and_falls_along_a_cosine():
    schedule = OneCycle(warm_up=0.25, start=0.1)
    shares = [schedule.factor(done, 8) for done in (0, 1, 2, 5, 8)]
    assert shares == pytest.approx([0.1, 0.55, 1.0, 0.5, 0.0])
    assert OneCycle(warm_up=0.0).factor(0, 8) == 1.0


def test_cosine_restarts_fall_to_zero_at_the_end_of_each_cycle():
    schedule = CosineRestarts(first=2, growth=2.0, decay=0.5, warm_up=0.5)
    shares = [schedule.factor(done, 14) for done in (1, 1.5, 2 - 1e-9, 4, 5, 10)]
    assert shares == pytest.approx([1, 0.5, 0, 0.5, 0.25, 0.25], abs=1e-6)
    assert schedule.shortened(7, 14) == CosineRestarts(first=1, growth=2.0, decay=0.5, warm_up=0.5)
