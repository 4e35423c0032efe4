"""How long an epoch of the paper's recipe takes, and where a step's time goes.

    WHITEBOX_DATA_DIR=... python -m benchmarks.training

The plain way is one `conv2d` with all 64 kernels and one `max` over its responses, in autograd's graph;
ours finds the winners piecewise without a graph (model/layers/convolutional.py).
"""

import json
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.measuring import save, seconds, show
from model.layers.convolutional import bright_map
from model.network import WhiteBoxNetwork
from training.data import load_mnist
from training.recipes import PAPER
from training.train import Run, train

EPOCHS = 3


def epoch_seconds() -> list[float]:
    digits, validation = (load_mnist(split, PAPER.network.labels) for split in ("train", "validation"))
    with tempfile.TemporaryDirectory() as directory:
        run = train(PAPER.shortened(EPOCHS), 0, digits, validation, Run(Path(directory) / "run"))
        return [json.loads(line)["seconds"] for line in run.metrics.read_text().splitlines()]


def plain_bright_map(pixels: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    responses = F.conv2d(pixels, kernels[:, None], padding=kernels.shape[-1] // 2)
    return (responses.max(dim=1, keepdim=True).values / kernels.shape[-1]).relu()


def step_milliseconds() -> dict[str, float]:
    """Times the parts of one step on a batch of 200 real digits, forward and backward."""
    network = WhiteBoxNetwork(PAPER.network)
    digits = load_mnist("train", PAPER.network.labels).first(PAPER.batch_size)

    def whole() -> None:
        F.cross_entropy(network(digits.images), digits.classes).backward()

    pixels = network.two_step(digits.images).detach().requires_grad_()
    kernels = network.convolutional.expand().flatten(0, 1).detach().requires_grad_()
    bright = network.convolutional(pixels).detach()
    parts = {
        "two-step": lambda: network.two_step(digits.images).sum().backward(),
        "convolutional, ours": lambda: bright_map(pixels, kernels).value.sum().backward(),
        "convolutional, plain": lambda: plain_bright_map(pixels, kernels).sum().backward(),
        "affine": lambda: network.affine(bright).sum().backward(),
        "whole step, ours": whole,
    }
    return {name: 1000 * seconds(part, repeat=10) for name, part in parts.items()}


def main() -> None:
    """Prints the tables and writes benchmarks/results/training.json."""
    threads = torch.get_num_threads()
    epochs, parts = epoch_seconds(), step_milliseconds()
    show(f"One epoch, 10,397 images, {threads} threads", ["epoch", "seconds"], [*enumerate(epochs, 1)])
    show("A step on 200 images, forward and backward", ["part", "ms"], [[k, v] for k, v in parts.items()])
    save("training", {"threads": threads, "epoch_seconds": epochs, "step_ms": parts})


if __name__ == "__main__":
    main()
