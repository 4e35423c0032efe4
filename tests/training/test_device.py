"""Training on another device than the processor; machines without a GPU stand in with torch's meta device.

Tensors on the meta device have shapes and no values, and an operation that mixes devices fails there as it
does on a GPU.
"""

import pytest
import torch

from model.network import NetworkConfig, WhiteBoxNetwork
from training.certified import Certified
from training.data import load_mnist
from training.device import find_device
from training.errors import TrainingError
from training.objectives import Adversarial, CrossEntropy
from training.recipes import RECIPES
from training.run import Run
from training.train import train


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize("objective", [CrossEntropy(), Certified(0.305, 0.3), Adversarial(0.3, steps=2)])
def test_a_step_of_training_stays_on_the_networks_device(objective, steps):
    config = NetworkConfig(labels=(3, 5), height=28, width=28, shapes_per_class=2, poses=4, steps=steps)
    network = WhiteBoxNetwork(config).to("meta")
    images = torch.rand(6, 1, 28, 28, device="meta")
    classes = torch.zeros(6, dtype=torch.int64, device="meta")

    loss, logits = objective.loss(network, images, classes, 0.5, torch.Generator())
    loss.backward()
    network.project_()

    assert logits.shape == (6, 2)
    assert logits.device.type == "meta"
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in network.parameters())


def test_auto_is_a_gpu_where_there_is_one():
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert find_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_that_names_the_remedy():
    with pytest.raises(TrainingError, match="--device cpu"):
        find_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_trains_the_network_that_the_processor_trains(tmp_path):
    recipe = RECIPES["certified"].shortened(2)
    digits, validation = (load_mnist(split, (3, 5), sample=True) for split in ("train", "validation"))
    ours, theirs = (
        train(recipe, 0, digits, validation, Run(tmp_path / device), quiet=True, device=device)
        for device in ("cpu", "cuda")
    )
    losses = [[line["loss"] for line in run.epochs()] for run in (ours, theirs)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert theirs.load().num_parameters() == ours.load().num_parameters()
