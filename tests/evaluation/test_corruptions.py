"""Corruptions spoil images as they say, always in the same way, and accuracy is counted on them."""

import json

import numpy as np
import pytest
from running import PACKAGE
from typer.testing import CliRunner

from evaluation.corruptions import accuracy_under_corruptions
from evaluation.corruptions.catalogue import CORRUPTIONS, MNIST_C
from evaluation.evaluated_model import load_model
from training.data import load_mnist
from whitebox.cli import app

ONE = {one.name: one for one in CORRUPTIONS}


@pytest.fixture(scope="module")
def some():
    return load_mnist("test", (3, 5), sample=True).images[:20, 0].numpy()


def test_mnist_c_has_its_fifteen():
    assert len(MNIST_C) == 15
    assert len(ONE) == len(CORRUPTIONS)


@pytest.mark.parametrize("name", ONE)
def test_a_corruption_changes_images_within_the_box_and_again_in_the_same_way(name, some):
    spoilt = ONE[name].corrupt(some, seed=1)
    assert spoilt.shape == some.shape
    assert spoilt.dtype == np.float32
    assert spoilt.min() >= 0
    assert spoilt.max() <= 1
    assert (np.abs(spoilt - some).max(axis=(1, 2)) > 0.1).all()
    np.testing.assert_array_equal(spoilt, ONE[name].corrupt(some, seed=1))


@pytest.mark.parametrize("name", ONE)
def test_a_corruption_takes_images_of_any_small_size(name):
    wide = np.random.default_rng(0).random((2, 20, 36), dtype=np.float32)
    assert ONE[name].corrupt(wide).shape == wide.shape


def test_a_shift_of_2_moves_every_pixel_by_2_along_one_axis(some):
    for before, after in zip(some, ONE["shift_2"].corrupt(some), strict=True):
        moved = [np.roll(before, by, axis) for by in (-2, 2) for axis in (0, 1)]
        assert min(np.abs(after - one).max() for one in moved) < 1e-6


def test_a_translation_by_3_moves_the_image_along_both_axes(some):
    for before, after in zip(some, ONE["translate"].corrupt(some), strict=True):
        inner = before[4:-4, 4:-4]
        at = [after[4 + y : 24 + y, 4 + x : 24 + x] for y in (-3, 3) for x in (-3, 3)]
        assert min(np.abs(inner - one).max() for one in at) < 1e-6


def test_salt_and_pepper_changes_as_many_pixels_as_it_says():
    grey = np.full((50, 28, 28), 0.5, np.float32)
    spoilt = ONE["salt_and_pepper_10"].corrupt(grey)
    assert (spoilt != grey).mean() == pytest.approx(0.1, abs=0.005)
    assert spoilt[spoilt != grey].mean() == pytest.approx(0.5, abs=0.05)


def test_a_wide_pen_only_adds_ink_and_a_fine_pen_only_takes_it_away(some):
    assert (ONE["wide_pen"].corrupt(some) >= some).all()
    assert (ONE["fine_pen"].corrupt(some) <= some).all()


def test_accuracy_is_counted_on_the_same_random_images_every_time(target, test_digits):
    found, again = (accuracy_under_corruptions(target, test_digits, sample=50) for _ in range(2))
    assert found == again
    accuracy = {row["name"]: row["accuracy"] for row in found["rows"]}
    assert found["count"] == 50
    assert found["clean"] > 0.9 > min(accuracy.values())
    assert found["mnist_c_mean"] == pytest.approx(np.mean([accuracy[one.name] for one in MNIST_C]), abs=1e-6)


def test_the_command_adds_corruptions_to_an_existing_card(tmp_path):
    card = tmp_path / "card.json"
    card.write_text(json.dumps({"model": "mnist-3v5/6", "clean": {"accuracy": 0.99}}))
    command = ["evaluate", str(PACKAGE), "--sample", "--corruptions", "--limit", "5", "--out", str(card)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "salt_and_pepper_10" in result.stdout
    content = json.loads(card.read_text())
    assert content["clean"] == {"accuracy": 0.99}
    assert content["corruptions"]["count"] == 5
    assert load_model(PACKAGE).name == content["model"]
