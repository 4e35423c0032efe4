"""Every recipe trains on real digits, loads back, and goes on after a kill with the same bits."""

import json
from dataclasses import replace

import pytest
import torch
from running import ROOT
from safetensors.torch import load_file

from model.network import WhiteBoxNetwork
from training.data import Dataset, load_mnist
from training.errors import TrainingError
from training.networks.architectures import build, config_from_dict, config_to_dict
from training.recipes import PAPER, RECIPES, Noise, find_recipe
from training.run import Run, RunError
from training.train import train

DOCS = ROOT / "docs" / "training.md"


def few(split, labels=(3, 5)) -> Dataset:
    """Some tens of digits of all classes, under any labels; the sample is ordered by class."""
    numbers = tuple(range(len(labels))) if isinstance(labels[0], str) else labels
    digits = load_mnist(split, numbers, sample=True)
    step = len(digits) // 36
    return replace(digits, images=digits.images[::step], classes=digits.classes[::step], labels=labels)


@pytest.fixture(scope="module")
def train_digits() -> Dataset:
    return few("train")


@pytest.fixture(scope="module")
def validation_digits() -> Dataset:
    return few("validation")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_and_loads_back(name, tmp_path):
    recipe = find_recipe(name, epochs=2)
    digits, validation = few("train", recipe.network.labels), few("validation", recipe.network.labels)
    run = train(recipe, 0, digits, validation, Run(tmp_path), quiet=True)
    torch.manual_seed(0)
    start, network = build(recipe.network), run.load()
    assert type(network) is type(start)
    assert network.config == recipe.network
    changed = {
        parameter
        for parameter, value in start.named_parameters()
        if not torch.equal(value, network.get_parameter(parameter))
    }
    assert changed == {key for key, value in start.named_parameters() if value.requires_grad}
    logits = network(validation.images)
    right = (logits.argmax(dim=1) == validation.classes).float().mean().item()
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    assert last["validation_accuracy"] == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_what_recipe_json_says_is_the_recipe(name):
    recipe = RECIPES[name]
    described = json.loads(json.dumps(recipe.to_dict()))
    assert described == recipe.to_dict()
    assert config_from_dict(described["network"]) == recipe.network
    assert described["network"] == config_to_dict(recipe.network)


def test_a_killed_adversarial_training_goes_on_with_the_same_bits(
    train_digits, validation_digits, tmp_path, monkeypatch
):
    recipe = replace(find_recipe("cnn-adversarial", epochs=3), batch_size=10)
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    train(recipe, 5, train_digits, validation_digits, whole, quiet=True)
    taken = 0

    class KilledInTheSecondEpoch(type(recipe.objective)):
        def loss(self, *arguments):
            nonlocal taken
            taken += 1
            if taken == 6:
                raise KeyboardInterrupt
            return super().loss(*arguments)

        def to_dict(self):
            return recipe.objective.to_dict()

    interrupted = replace(recipe, objective=KilledInTheSecondEpoch(**vars(recipe.objective)))
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, 5, train_digits, validation_digits, killed, quiet=True)
    assert len(killed.metrics.read_text().splitlines()) == 1
    train(recipe, 5, train_digits, validation_digits, killed, quiet=True)
    assert taken == 6
    expected, resumed = load_file(whole.network), load_file(killed.network)
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


def test_a_recipe_can_name_what_a_parameter_starts_from(train_digits, validation_digits, tmp_path):
    still = replace(
        PAPER, epochs=1, learning_rate=0.0, weight_decay=0.0, start={"two_step.thresholds": (0.35, 0.6)}
    )
    network = train(still, 0, train_digits, validation_digits, Run(tmp_path), quiet=True).load()
    assert isinstance(network, WhiteBoxNetwork)
    assert network.two_step.thresholds.tolist() == pytest.approx([0.35, 0.6])


def test_a_recipe_can_give_a_parameter_a_rate_of_its_own(train_digits, validation_digits, tmp_path):
    recipe = replace(PAPER, epochs=1, rates={"two_step.thresholds": 0.0}, matmul_precision="medium")
    before = torch.get_float32_matmul_precision()
    network = train(recipe, 0, train_digits, validation_digits, Run(tmp_path), quiet=True).load()
    assert isinstance(network, WhiteBoxNetwork)
    assert network.two_step.thresholds.tolist() == [0.25, 0.75]
    assert network.two_step.levels.tolist() != [0.5, 0.5]
    assert torch.get_float32_matmul_precision() == before


def test_a_run_of_a_baseline_is_not_taken_for_a_white_box(train_digits, validation_digits, tmp_path):
    run = train(
        find_recipe("logistic", epochs=1), 0, train_digits, validation_digits, Run(tmp_path), quiet=True
    )
    with pytest.raises(RunError, match="no white-box network"):
        run.load_white_box()


def test_papers_recipe_is_the_papers():
    recipe = find_recipe("paper")
    assert (recipe.learning_rate, recipe.weight_decay) == (3e-3, 3e-6)
    assert (recipe.batch_size, recipe.epochs) == (200, 15)
    assert recipe.noise == Noise(0.05, 0.25, 0.7)


def test_an_unknown_recipe_lists_those_that_there_are():
    with pytest.raises(TrainingError) as caught:
        find_recipe("magic")
    assert all(name in str(caught.value) for name in RECIPES)


def test_docs_list_every_recipe_with_its_size():
    table = DOCS.read_text().partition("| recipe")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    listed = {row[1].strip(" `"): (int(row[3].replace(",", "")), int(row[4])) for row in rows}
    assert listed == {
        name: (build(recipe.network).num_parameters(), recipe.epochs) for name, recipe in RECIPES.items()
    }
