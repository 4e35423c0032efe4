"""The README's way from a folder of images to a model that is certified, served and explained."""

import contextlib
import re
import runpy
import shlex
import sys

import pytest
from running import ROOT, running_server
from typer.testing import CliRunner

from training.data import load_recorded
from training.objectives import count_correct
from training.run import Run
from whitebox.cli import app


def commands() -> list[list[str]]:
    (block,) = re.findall(
        r"## Your own images.*?```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    return [shlex.split(line) for line in block.splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    *made, served = commands()
    assert len(made) + 1 == 4
    assert served[-2:] == ["whitebox", "serve"]
    with contextlib.chdir(place):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["digits_folder.py", "digits"])
            runpy.run_path(str(ROOT / "examples" / "digits_folder.py"), run_name="__main__")
        for _, *arguments in made:
            finished = CliRunner().invoke(app, arguments)
            assert finished.exit_code == 0, finished.output
    return place


def test_a_network_trained_on_a_folder_is_right_on_what_was_held_out(place):
    run = Run(place / "runs" / "digits")
    test = load_recorded(run.description(), run.load().config.labels, "test")
    assert count_correct(run.load(), test.images, test.classes) / len(test) >= 0.95


def test_it_is_served_explained_and_certified(place):
    environment = dict(each.split("=") for each in commands()[-1][:-2])
    environment["WHITEBOX_MODELS_DIR"] = str(place / environment["WHITEBOX_MODELS_DIR"])
    content = (place / "digits" / "7" / "0007.png").read_bytes()
    with running_server(**environment) as (client, _):
        answer = client.post("/v1/explain", content=content, headers={"Content-Type": "image/png"})
        (explained,) = answer.json()["explanations"]
        assert explained["label"] == 7
        total = sum(explained["claims"]["7"]["contributions"])
        assert total == pytest.approx(explained["logits"]["7"], abs=1e-4)
        body = {"images": [explained["image"]], "labels": [7], "epsilon": 0.03}
        certified = client.post("/v1/certify", json=body, timeout=60)
        assert certified.json()["results"][0]["verdict"] == "certified"
