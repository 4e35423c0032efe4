"""What `whitebox inside` reads out is the network, and what it says of digits is what the network does."""

import json

import numpy as np
import pytest
import torch
from running import PACKAGE
from typer.testing import CliRunner

from evaluation.introspection import initial_network, introspect
from model.network import WhiteBoxNetwork
from whitebox.cli import app

FEW_STEPS = 50


@pytest.fixture(scope="module")
def sample(few_digits):
    return few_digits


@pytest.fixture(scope="module")
def read_out(network, package, sample):
    return introspect(network, initial_network(network, package.manifest.training), sample, 0.3, FEW_STEPS)


def test_all_learned_numbers_can_be_read_back(read_out, network, frozen, sample):
    rebuilt = WhiteBoxNetwork(network.config)
    with torch.no_grad():
        step = read_out["two_step"]["after"]
        for name in ("levels", "thresholds", "scales"):
            getattr(rebuilt.two_step, name).copy_(torch.tensor(step[name]))
        rebuilt.convolutional.base.copy_(torch.tensor(read_out["kernels"])[:, 0])
        rebuilt.affine.base.copy_(torch.tensor(read_out["shapes"]["bases"]))
        rebuilt.affine.poses.copy_(torch.tensor(read_out["shapes"]["poses"]))
        rebuilt.logical.base.copy_(torch.tensor(read_out["rows"]))
        images = sample.images[:100]
        assert (rebuilt(images) - frozen(images)).abs().max() < 0.05  # four digits are kept of each number
        assert torch.equal(rebuilt(images).argmax(1), frozen(images).argmax(1))


def test_the_two_step_function_starts_as_the_paper_says_and_ends_where_the_network_is(read_out, network):
    assert read_out["two_step"]["before"]["thresholds"] == [0.25, 0.75]
    assert read_out["two_step"]["after"]["thresholds"] == pytest.approx(
        network.two_step.thresholds.tolist(), abs=1e-4
    )


def test_attribution_of_every_claim_sums_to_its_logit(read_out, frozen, sample):
    for digit in read_out["digits"]:
        logits = frozen(sample.images[digit["index"]][None])[0]
        for claim in digit["claims"]:
            logit = float(logits[(3, 5).index(claim["label"])])
            assert claim["logit"] == pytest.approx(logit, abs=1e-4)
            assert sum(map(sum, claim["attribution"])) == pytest.approx(logit, abs=0.02)


def test_digits_are_the_first_right_ones_of_each_class_and_a_wrong_one(read_out, frozen, sample):
    right = frozen(sample.images).argmax(1) == sample.classes
    found = [digit["index"] for digit in read_out["digits"]]
    threes = (right & (sample.classes == 0)).nonzero()[:4, 0].tolist()
    fives = (right & (sample.classes == 1)).nonzero()[:4, 0].tolist()
    wrong = (~right).nonzero()[:1, 0].tolist()
    assert found == [*threes, *fives, *wrong]


def test_contributions_are_those_that_add_up_to_the_logits(read_out):
    for digit in read_out["digits"]:
        assert np.sum(digit["contributions"], axis=1) == pytest.approx(digit["logits"], abs=1e-3)
        best = digit["claims"][0]
        assert max(digit["logits"]) == best["logit"]


def test_nearest_mistakes_are_mistakes_and_as_far_as_they_say(read_out, frozen, sample):
    attacked = [digit for digit in read_out["digits"] if "nearest_mistake" in digit]
    assert len(attacked) == 8
    for digit in attacked:
        found, original = torch.tensor(digit["nearest_mistake"]["image"]), torch.tensor(digit["image"])
        assert digit["nearest_mistake"]["label"] != digit["label"]
        assert digit["nearest_mistake"]["l2"] == pytest.approx(float((found - original).norm()), abs=2e-3)
        # Nearer than any digit of the other class that is taken for one.
        others = sample.images[sample.classes != (3, 5).index(digit["label"])]
        assert digit["nearest_mistake"]["l2"] < (others - original).flatten(1).norm(dim=1).min()


def test_images_that_fall_were_right_and_are_wrong_within_epsilon(read_out, frozen):
    assert read_out["fallen"]["epsilon"] == 0.3
    fallen = read_out["fallen"]["images"]
    assert 0 < len(fallen) <= 20
    for each in fallen:
        before, after = (torch.tensor(image) for image in (each["image"], each["mistake"]["image"]))
        answers = frozen(torch.stack([before, after])[:, None]).argmax(dim=1).tolist()
        assert [(3, 5)[answer] for answer in answers] == [each["label"], each["mistake"]["label"]]
        assert each["label"] != each["mistake"]["label"]
        assert (after - before).abs().max() <= 0.3 + 2e-4  # rounded to four digits


def test_the_start_of_a_recipe_with_values_of_its_own_has_them(network):
    recipe = {"start": {"two_step.thresholds": [0.35, 0.6]}}
    initial = initial_network(network, {"seed": 0, "recipe": recipe})
    assert initial.two_step.thresholds.tolist() == pytest.approx([0.35, 0.6])


def test_an_inside_stays_small(read_out):
    assert len(json.dumps(read_out, separators=(",", ":"))) < 300_000


@pytest.mark.slow
def test_the_command_writes_what_was_read_out(tmp_path):
    out = tmp_path / "cards" / "x.inside.json"
    command = ["inside", str(PACKAGE), "--sample", "--boundary-steps", "5", "--out", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    written = json.loads(out.read_text())
    assert written["model"] == "mnist-3v5/6"
    assert written["num_parameters"] == 4810


def test_what_is_no_network_is_told_in_one_line(tmp_path):
    done = CliRunner().invoke(app, ["inside", str(tmp_path), "--out", str(tmp_path / "x.json")])
    assert done.exit_code == 1
    assert "holds no run" in done.stderr
