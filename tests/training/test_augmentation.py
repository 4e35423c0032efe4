"""Images that training changes at random: moved ones are the same digits, as sharp as before."""

from dataclasses import replace

import pytest
import torch
from torch import Generator

from model.layers.warp import warp
from training.augmentation import Motion, moved
from training.recipes import fit_to_data
from training.recipes.catalogue import CERTIFIED


def share_of_grey(images: torch.Tensor) -> float:
    return float(((images > 0.2) & (images < 0.8)).float().mean())


def test_moved_digits_are_no_greyer_and_have_as_much_ink(images):
    found = moved(images, 1.0, Generator().manual_seed(0))
    assert share_of_grey(found) == pytest.approx(share_of_grey(images), rel=0.1)
    assert float(found.mean()) == pytest.approx(float(images.mean()), rel=0.05)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


def test_the_network_reads_moved_digits_nearly_as_well(frozen, images, digits):
    true = torch.from_numpy(digits[1] == 5).long()
    right = (frozen(moved(images, 1.0, Generator().manual_seed(1))).argmax(dim=1) == true).float().mean()
    assert right > 0.95


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_large_a_share_is_moved_and_the_same_with_the_same_seed(images, share):
    found, again = (moved(images, share, Generator().manual_seed(2)) for _ in range(2))
    changed = (found != images).flatten(1).any(dim=1).float().mean()
    assert float(changed) == pytest.approx(share, abs=0.06)
    assert torch.equal(found, again)


def test_who_moves_by_nothing_changes_nothing(images):
    maps = Motion(0, 0, 0, 0).maps(10, Generator().manual_seed(3))
    assert torch.allclose(warp(images[:10, 0], maps), images[:10, 0], atol=1e-5)


def test_other_images_than_digits_are_not_moved():
    recipe = replace(CERTIFIED, objective=replace(CERTIFIED.objective, moved=0.5))
    assert fit_to_data(recipe, ("cat", "dog"), (24, 40), 500).objective.moved == 0
    assert fit_to_data(recipe, (3, 5), (28, 28), 10_000, 0.2).objective.moved == 0.5
