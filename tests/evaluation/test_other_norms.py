"""Changes that are small in L2 or touch few pixels: what is reported was found, and is in a card."""

import json
from dataclasses import replace

import pytest
import torch
from running import PACKAGE
from torch import nn
from typer.testing import CliRunner

from evaluation.evaluated_model import EvaluatedModel, load_model
from evaluation.other_norms import L0_COUNTS, L2_RADII, accuracy_in_other_norms
from training.data import load_mnist
from whitebox.cli import app


@pytest.fixture(scope="module")
def dataset():
    digits = load_mnist("test", (3, 5), sample=True)
    return replace(digits, images=digits.images[::20], classes=digits.classes[::20])


class CornerPixel(nn.Module):
    """Tells a 3 from a 5 by whether the pixel in the corner is dark."""

    def forward(self, images):
        corner = images[:, 0, 0, 0]
        return torch.stack([0.5 - corner, corner - 0.5], dim=1)


class CountsBlackPixels(nn.Module):
    """Calls an image a 5 if more than half of it is dark: its gradient is zero everywhere."""

    def forward(self, images):
        dark = (images.flatten(1) > 0.5).float().mean(dim=1) - 0.5 + 0 * images.flatten(1).sum(dim=1)
        return torch.stack([-dark, dark], dim=1)


def by_norm(found):
    return {row["norm"]: row for row in found["rows"]}


def test_a_network_that_looks_at_one_pixel_falls_to_one_pixel(dataset):
    images = dataset.images.clone()
    images[:, 0, 0, 0] = dataset.classes.float()  # so that it is always right
    model = EvaluatedModel("corner", CornerPixel(), (3, 5))
    rows = by_norm(accuracy_in_other_norms(model, replace(dataset, images=images), sample=6))
    assert [one["accuracy"] for one in rows["l0"]["accuracy"]] == [0.0] * len(L0_COUNTS)
    assert rows["l0"]["median"] == 1
    assert rows["l2"]["median"] == pytest.approx(0.5, abs=0.01)
    assert rows["l2"]["accuracy"][1] == {"radius": 1.0, "accuracy": 0.0}


def test_a_network_without_gradients_is_measured_too(dataset):
    noise = torch.rand(dataset.images.shape, generator=torch.Generator().manual_seed(0))
    images = torch.where(dataset.classes[:, None, None, None] == 1, 0.5 + noise / 2, noise / 2)
    model = EvaluatedModel("counts", CountsBlackPixels(), (3, 5))
    rows = by_norm(accuracy_in_other_norms(model, replace(dataset, images=images), sample=6))
    assert rows["l0"]["median"] == pytest.approx(392, abs=1)  # half of the pixels have to change


@pytest.mark.slow
def test_a_shipped_model_withstands_fewer_images_the_more_may_change(tmp_path):
    card = tmp_path / "card.json"
    arguments = [str(PACKAGE), "--sample", "--other-norms", "--limit", "8", "--out", str(card)]
    answer = CliRunner().invoke(app, ["evaluate", *arguments])
    assert answer.exit_code == 0, answer.output
    found = json.loads(card.read_text())["other_norms"]
    assert found["count"] == 8
    for row, radii in zip(found["rows"], (L2_RADII, L0_COUNTS), strict=True):
        shares = [one["accuracy"] for one in row["accuracy"]]
        assert [one["radius"] for one in row["accuracy"]] == list(radii)
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > shares[-1]
        assert row["median"] > 0
    assert "l0, 20" in answer.output
    assert load_model(PACKAGE).name in answer.output
