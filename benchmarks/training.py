"""How long an epoch of `paper` and of `certified-10` takes, and where a step's time goes.

    WHITEBOX_DATA_DIR=... python -m benchmarks.training

The plain way is one `conv2d` with all kernels and one `max` over its responses, in autograd's graph; ours
finds the winners without a graph (training/fused_bounds.py). Steps for proofs are timed
plain and ours by turns, in wall-clock and in CPU time: their ratio says the same on a busy machine.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.measuring import ROOT, save, seconds, show
from model.layers.convolutional import bright_map
from model.network import WhiteBoxNetwork
from model.network_config import NetworkConfig
from model.package_directory import newest_package
from model.verification.interval_bounds import (
    both_ends,
    bright_interval,
    margin_lower_bounds,
    shape_interval,
    two_step_interval,
)
from training import native
from training.certified import generalised_cross_entropy, worst_logits
from training.data import Dataset, load_mnist
from training.recipes import PAPER, find_recipe
from training.run import Run
from training.train import train

EPOCHS = {"paper": 3, "certified-10": 2}
TURNS = 15


def epoch_seconds(name: str) -> list[float]:
    recipe = find_recipe(name, EPOCHS[name])
    digits, validation = (load_mnist(split, recipe.network.labels) for split in ("train", "validation"))
    with tempfile.TemporaryDirectory() as directory:
        run = train(recipe, 0, digits, validation, Run(Path(directory) / "run"))
        return [json.loads(line)["seconds"] for line in run.metrics.read_text().splitlines()]


def plain_bright_map(pixels: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    responses = F.conv2d(pixels, kernels[:, None], padding=kernels.shape[-1] // 2)
    return (responses.max(dim=1, keepdim=True).values / kernels.shape[-1]).relu()


def step_milliseconds() -> dict[str, float]:
    """Times the parts of one step on a batch of 200 real digits, forward and backward."""
    assert isinstance(PAPER.network, NetworkConfig)
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


def plain_worst_logits(network: WhiteBoxNetwork, digits: Dataset, epsilon: float) -> torch.Tensor:
    pixels = two_step_interval(digits.images, epsilon, network.two_step.terms())
    bright = bright_interval(pixels, both_ends(network.convolutional.expand().flatten(0, 1)))
    shapes = shape_interval(bright, network.affine.expand())
    margins = margin_lower_bounds(shapes, network.logical.expand(), digits.classes)
    wrong = F.one_hot(digits.classes, margins.shape[1] + 1) == 0
    return torch.zeros(wrong.shape).masked_scatter(wrong, -margins)


def certified_step_milliseconds() -> dict[str, dict[str, float]]:
    """Times whole steps of `certified-10`, trained, on 200 real digits, plain and ours by turns; medians."""
    recipe = find_recipe("certified-10")
    network = WhiteBoxNetwork.from_package(newest_package(ROOT / "artifacts", "mnist-10-certified"))
    assert network.config == recipe.network
    digits = load_mnist("train", recipe.network.labels).first(recipe.batch_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)
    ways = {
        "plain": lambda: plain_worst_logits(network, digits, 0.3),
        "ours": lambda: worst_logits(network, digits.images, digits.classes, 0.3),
    }

    def step(logits: Callable[[], torch.Tensor], precision: str) -> tuple[float, float]:
        torch.set_float32_matmul_precision(precision)
        wall, cpu = time.perf_counter(), time.process_time()
        loss = generalised_cross_entropy(logits(), digits.classes, 0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.project_()
        return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)

    cases = {
        "plain": (ways["plain"], "highest"),
        "ours": (ways["ours"], "highest"),
        "ours, bfloat16 products": (ways["ours"], "medium"),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(TURNS):
        for name, case in cases.items():
            with nullcontext() if name == "plain" else native.threads_apart():
                times[name].append(step(*case))
    torch.set_float32_matmul_precision("highest")
    return {
        name: dict(zip(("wall", "cpu"), map(statistics.median, zip(*pairs, strict=True)), strict=True))
        for name, pairs in times.items()
    }


def main() -> None:
    """Prints the tables and writes benchmarks/results/training.json."""
    threads = torch.get_num_threads()
    certified, parts = certified_step_milliseconds(), step_milliseconds()
    rows = [
        [name, *each.values(), certified["plain"]["cpu"] / each["cpu"]] for name, each in certified.items()
    ]
    show("A step of certified-10 on 200 images", ["way", "wall ms", "CPU ms", "times faster"], rows)
    show("A step of paper, forward and backward", ["part", "ms"], [[k, v] for k, v in parts.items()])
    epochs = {name: epoch_seconds(name) for name in EPOCHS}
    show(
        f"Epochs, {threads} threads",
        ["recipe", "seconds"],
        [[k, v] for k, each in epochs.items() for v in each],
    )
    results = {"epoch_seconds": epochs, "step_ms": parts, "certified_step_ms": certified}
    save("training", {"threads": threads, **results})


if __name__ == "__main__":
    main()
