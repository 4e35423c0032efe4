"""What docs/plugins.md promises: its example adds one of each, and what is wrong with a plugin is said."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from running import ROOT
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from model.plugins import PluginError, Registry, load_plugin
from model.plugins.loading import _imported_as
from training.run import Run
from whitebox.cli import app

DOCS = (ROOT / "docs" / "plugins.md").read_text()
EXAMPLE = ROOT / "examples" / "plugin.py"
# In a process of its own: what a plugin adds stays.
RUN_COMMANDS = """
import json, sys
from typer.testing import CliRunner
from whitebox.cli import app
for command in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, command)
    print(json.dumps([done.exit_code, done.output]), flush=True)
"""


def documented() -> list[list[str]]:
    (block,) = re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL)
    return [shlex.split(line)[1:] for line in block.splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the documented commands ran, on scikit-learn's digits as a CSV file."""
    place = tmp_path_factory.mktemp("plugins")
    digits = load_digits()
    pixels = (digits.images / 16 * 255).round().astype(int).reshape(len(digits.images), -1)
    names = ",".join(["label", *(f"pixel{index}" for index in range(pixels.shape[1]))])
    table = np.column_stack([digits.target, pixels])
    np.savetxt(place / "digits.csv", table, "%d", ",", header=names, comments="")
    (place / "examples").symlink_to(ROOT / "examples")
    return place


@pytest.fixture(scope="module")
def answers(place) -> list[str]:
    train, evaluate, attack = documented()
    own = ["train", *train[1:3], "--recipe-file", "mine.toml", *train[5:-1], "other"]
    commands = [[*train, "--epochs", "1"], [*evaluate, "--limit", "20"], attack, [*own, "--epochs", "1"]]
    (place / "mine.toml").write_text(
        'base = "smoothed"\n[objective]\nkind = "SmoothedLabels"\nsmoothing = 0.3\n'
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", RUN_COMMANDS, json.dumps(commands)],
        check=True,
        capture_output=True,
        text=True,
        cwd=place,
        env=environment,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in outcomes] == [0] * len(commands), outcomes
    return [output for _, output in outcomes]


def test_the_documented_code_is_the_example():
    blocks = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    assert len(blocks) == 4
    assert all(block in EXAMPLE.read_text() for block in blocks)


@pytest.mark.slow
def test_a_recipe_an_objective_and_a_data_source_of_a_plugin_train(answers, place):
    description = Run(place / "runs" / "smoothed").description()
    assert description["recipe"]["name"] == "smoothed"
    assert description["recipe"]["objective"] == {"kind": "SmoothedLabels", "smoothing": 0.2}
    assert description["source"]["kind"] == "csv"
    assert (
        description["data"]["count"] + description["validation"]["count"] + description["test"]["count"]
        == 1797
    )
    assert description["plugins"] == ["plugin.py"]


@pytest.mark.slow
def test_a_recipe_file_names_a_plugin_s_recipe_and_objective(answers, place):
    objective = Run(place / "other").description()["recipe"]["objective"]
    assert objective == {"kind": "SmoothedLabels", "smoothing": 0.3}


@pytest.mark.slow
def test_an_attack_of_a_plugin_runs_in_the_processes_of_the_evaluation_and_of_the_attack(answers, place):
    card = json.loads((place / "runs" / "smoothed" / "card.json").read_text())
    (attack,) = card["attacks"]
    assert (attack["name"], attack["settings"]["steps"]) == ("brightness", 1)
    assert attack["withstood"] <= card["clean"]["correct"]
    assert "brightness" not in answers[2]
    assert re.search(
        r"(success|no adversarial image found) after \d+ queries; distance: linf 0\.4", answers[2]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["evaluate", "runs/smoothed"],
            "of the kind 'csv', which a plugin reads. Say where it is: --plugin plugin.py.",
        ),
        (["train", "--recipe", "smoothed"], "There is no recipe 'smoothed'."),
        (["train", "--sample", "--set", 'objective={"kind": "SmoothedLabels"}'], "no kind 'SmoothedLabels'"),
        (["train", "--data", "digits.csv"], "A plugin may read other kinds: --plugin."),
        (["attack", "examples/five.png", "--attack", "brightness"], "There is no attack 'brightness'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_without_the_plugin_one_line_says_what_is_missing(answers, place, monkeypatch, command, said):
    monkeypatch.chdir(place)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"There is no plugin .*mine\.py: no such file"),
        (
            "import nothing_of_this_name",
            r"mine\.py cannot be imported: ModuleNotFoundError in .*mine\.py, line 1",
        ),
        ("x = 1\nx +", r"mine\.py cannot be imported: SyntaxError in .*mine\.py, line 2"),
        (
            "from training.recipes import PAPER, RECIPES\nRECIPES.add(PAPER)",
            r"plugin mine\.py: the recipe 'paper' is there already, from the project itself; rename yours",
        ),
        (
            "from training.objectives import OBJECTIVES\nOBJECTIVES.add(3)",
            r"plugin mine\.py: 3 is no objective: it has to be a subclass of training\.objectives\.Objective",
        ),
    ],
)
def test_what_is_wrong_with_a_plugin_is_one_line_of_the_command(tmp_path, content, said):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    done = CliRunner().invoke(app, ["train", "--list", "--plugin", str(path)])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert re.search(said, line)


def test_a_module_that_is_not_installed_is_told_from_a_file():
    with pytest.raises(PluginError, match=r"no module 'of\.nobody' to plug in: install it, or name its file"):
        load_plugin("of.nobody")


def test_two_plugins_cannot_take_one_name():
    numbers: Registry[int] = Registry("number", "an int", lambda value: isinstance(value, int), str)
    with _imported_as("first", ""):
        numbers.add(1)
    assert numbers.plugin_of("1") == "first"
    with (
        _imported_as("second", ""),
        pytest.raises(PluginError, match=r"second: the number '1' .* from first"),
    ):
        numbers.add(1)


FIND_ATTACK = """
from model.attacks.catalogue import ATTACKS
from model.plugins import PluginError
try:
    print(ATTACKS.plugin_of("mine"), "pgd" in ATTACKS, "mine" in ATTACKS)
except PluginError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            "from model.attacks.catalogue import *\nATTACKS.add(AttackKind('mine', print, 1))",
            "None True True",
        ),
        ("1 / 0", "The plugin of_mine cannot be imported: ZeroDivisionError in {place}/of_mine.py, line 1: "
         "division by zero. Mend it, or uninstall it: pip uninstall my-attacks"),
    ],
)  # fmt: skip
def test_an_installed_distribution_plugs_in_by_an_entry_point(tmp_path, module, said):
    (tmp_path / "of_mine.py").write_text(module)
    about = tmp_path / "my_attacks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-attacks\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[whitebox.plugins]\nmine = of_mine\n")
    done = subprocess.run(
        [sys.executable, "-c", FIND_ATTACK],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
    )
    assert done.stdout.strip() == said.format(place=tmp_path)
