"""docs/tutorial.md: the way from a folder of images to a model that is certified, served and explained."""

import contextlib
import json
import re
import runpy
import shlex
import subprocess
import sys

import pytest
from running import ROOT, running_server
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from typer.testing import CliRunner

import whitebox
from training.data import load_recorded
from training.objectives import count_correct
from training.run import Run
from whitebox.cli import app


def commands(document: str, program: str) -> list[str]:
    """Returns the lines of a document that run a program, perhaps with variables before it."""
    return re.findall(rf"^(?:\w+=\S+ )*{program} .*$", (ROOT / document).read_text(), re.MULTILINE)


*MADE, SERVED = commands("docs/tutorial.md", "whitebox")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    with contextlib.chdir(place):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["digits_folder.py", "digits"])
            runpy.run_path(str(ROOT / "examples" / "digits_folder.py"), run_name="__main__")
        for command in MADE:
            finished = CliRunner().invoke(app, shlex.split(command)[1:])
            assert finished.exit_code == 0, finished.output
    return place


@pytest.fixture(scope="module")
def client(place):
    environment = dict(each.split("=") for each in SERVED.split()[:-2])
    environment["WHITEBOX_MODELS_DIR"] = str(place / environment["WHITEBOX_MODELS_DIR"])
    with running_server(**environment, WHITEBOX_ATTACK_WORKERS="0") as (client, _):
        yield client


def test_the_readme_shows_the_same_way():
    shown = commands("README.md", "whitebox")
    assert len(shown) == 4
    assert set(shown) <= {*MADE, SERVED}


def test_a_network_trained_on_a_folder_is_right_on_what_was_held_out(place):
    run = Run(place / "runs" / "digits")
    test = load_recorded(run.description(), run.load().config.labels, "test")
    assert count_correct(run.load(), test.images, test.classes) / len(test) >= 0.95


def test_it_is_served_explained_and_certified(place, client):
    content = (place / "digits" / "7" / "0007.png").read_bytes()
    answer = client.post("/v1/explain", content=content, headers={"Content-Type": "image/png"})
    (explained,) = answer.json()["explanations"]
    assert explained["label"] == 7
    total = sum(explained["claims"]["7"]["contributions"])
    assert total == pytest.approx(explained["logits"]["7"], abs=1e-4)
    body = {"images": [explained["image"]], "labels": [7], "epsilon": 0.03}
    certified = client.post("/v1/certify", json=body, timeout=60)
    assert certified.json()["results"][0]["verdict"] == "certified"


@pytest.mark.parametrize("command", commands("docs/tutorial.md", "curl"))
def test_calls_of_the_tutorial_work(command, place, client):
    shown = command.partition(" -o ")[0].replace("http://127.0.0.1:8000", str(client.base_url))
    done = subprocess.run(shlex.split(shown), check=True, capture_output=True, cwd=place, text=True)
    if "figure" in command:
        assert done.stdout.startswith("<svg ")
    else:
        (answer,) = json.loads(done.stdout).get("predictions") or json.loads(done.stdout)["explanations"]
        assert answer["label"] == 7


def test_it_is_asked_in_python_as_the_tutorial_does(place, monkeypatch):
    monkeypatch.chdir(place)
    for example in Sybil([PythonCodeBlockParser()]).parse(ROOT / "docs" / "tutorial.md").examples():
        example.evaluate()
        assert example.namespace["why"].prediction.label == 7
    assert (place / "seven.svg").exists()


def test_it_is_made_in_python_as_the_page_of_the_library_does(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("digits", "runs"):  # the training is finished, so it ends at once
        (tmp_path / folder).symlink_to(place / folder)
    *_, example = Sybil([PythonCodeBlockParser()]).parse(ROOT / "docs" / "library.md").examples()
    example.namespace["whitebox"] = whitebox
    example.evaluate()
    assert whitebox.load("models/digits/1").labels == example.namespace["mine"].labels
