"""docs/tutorial.md: the way from a folder of images to a model that is certified, served and explained."""

import contextlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

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

pytestmark = pytest.mark.slow  # service/test_other_images.py is the same with smaller trainings

FASHION = Path("/usr/share/datasets/fashion-mnist")
RECIPE = """
base = "certified"
epochs = 1

[network]
poses = 9
"""


def run(*arguments) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    return line


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


def test_a_recipe_file_a_value_and_an_epsilon_make_the_recipe(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "mine.toml").write_text(RECIPE)
    changes = ("--recipe-file", "mine.toml", "--set", "network.shapes_per_class=6", "--epsilon", "0.1")
    run("train", "--data", "digits", *changes, "--out", "runs/mine")
    made = Run(place / "runs" / "mine").description()
    assert (made["recipe"]["name"], made["recipe"]["epochs"]) == ("mine", 1)
    assert (made["recipe"]["network"]["poses"], made["recipe"]["network"]["shapes_per_class"]) == (9, 6)
    assert made["recipe"]["objective"]["measured_at"] == made["epsilon"] == 0.1


def test_it_is_judged_on_its_own_images_at_its_own_radius_and_reported(place, monkeypatch):
    monkeypatch.chdir(place)
    evaluate = ("evaluate", "runs/digits", "--attack", "fgsm", "--limit", "20", "--processes", "1")
    run(*evaluate, "--out", "cards/digits.json")
    certify = ("certify", "runs/digits", "--limit", "20", "--out", "cards/digits.json")
    run(*certify)
    assert "(20 images), not about these" in refused(*certify[:2], "--limit", "3", *certify[4:])
    card = json.loads((place / "cards" / "digits.json").read_text())
    assert card["data"]["source"] == "digits, test, first 20"
    assert card["worst_case"]["epsilon"] == 0.05
    assert [one["epsilon"] for one in card["certified"]] == [0.0167, 0.0333, 0.05]

    run("inside", "runs/digits", "--boundary-steps", "5", "--out", "cards/digits.inside.json")
    shutil.copy("runs/digits/metrics.jsonl", "cards/digits.metrics.jsonl")
    run("report", "--cards", "cards", "--out", "RESULTS.md")
    run("report", "--cards", "cards", "--out", "RESULTS.md", "--check")
    page = (place / "RESULTS.md").read_text()
    assert "| network | parameters | clean | worst attack, 0.05 | proved, 0.0167 |" in page
    assert "`whitebox train --data digits --recipe certified --seed 0`" in page
    for foreign in ("MNIST", "mnist", "worst attack, 0.3", "logistic", "digits only"):
        assert foreign not in page


def test_other_images_are_refused(place, monkeypatch):
    monkeypatch.chdir(place)
    assert "was trained on digits, train, not on MNIST" in refused("evaluate", "runs/digits", "--sample")
    others = place / "others"
    if not others.exists():
        shutil.copytree(place / "digits", others)
        next((others / "7").iterdir()).unlink()
    for command in (("evaluate", "runs/digits"), ("certify", "runs/digits")):
        assert "does not hold the images that the model was made with" in refused(
            *command, "--data", "others"
        )


@pytest.mark.skipif(not FASHION.exists(), reason="Debian's dataset-fashion-mnist is not installed")
def test_idx_files_of_clothes_go_the_same_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    less = ("--classes", "sandal,bag", "--epochs", "1", "--set", "network.poses=4")
    run(
        "train",
        "--data",
        FASHION,
        "--recipe",
        "certified",
        "--epsilon",
        "0.05",
        *less,
        "--out",
        "runs/clothes",
    )
    run("certify", "runs/clothes", "--epsilon", "0.05", "--limit", "20")
    run("export", "runs/clothes", "--out", "models/clothes/1")
    clothes = load_recorded(Run(tmp_path / "runs" / "clothes").description(), ("sandal", "bag"), "test")
    images = clothes.images[:50, 0].tolist()
    expected = [clothes.labels[index] for index in clothes.classes[:50].tolist()]
    served = {"WHITEBOX_MODELS_DIR": str(tmp_path / "models"), "WHITEBOX_DEFAULT_MODEL": "clothes"}
    with running_server(**served, WHITEBOX_ATTACK_WORKERS="0") as (client, _):
        found = client.post("/v1/predict", json={"images": images}).json()["predictions"]
        right = [each["label"] == label for each, label in zip(found, expected, strict=True)]
        assert sum(right) >= 45
        explained = client.post("/v1/explain", json={"images": images[:1]}).json()["explanations"]
        assert set(explained[0]["claims"]) == {"sandal", "bag"}
        body = {"images": images[:5], "epsilon": 0.02}
        proofs = client.post("/v1/certify", json=body, timeout=60).json()["results"]
        assert "certified" in [each["verdict"] for each in proofs]
