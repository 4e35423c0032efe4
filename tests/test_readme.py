"""What README and docs show is run, against a server as a user starts it."""

import json
import re
import shlex
import subprocess

import numpy as np
import pytest
from running import ROOT, WHITEBOX, running_server, sample_digits
from typer.testing import CliRunner

from whitebox.cli import app

PLACE = "http://127.0.0.1:8000"


def curls(document: str) -> list[str]:
    return re.findall(r"^curl .*$", (ROOT / document).read_text(), re.MULTILINE)


def shortened(values, shown):
    """Keeps of an answer what the README shows of it."""
    if isinstance(shown, dict):
        return {key: shortened(values[key], shown[key]) for key in shown}
    if isinstance(shown, list):
        assert len(values) == len(shown)
        return [shortened(v, s) for v, s in zip(values, shown, strict=True)]
    return pytest.approx(values, abs=6e-4) if isinstance(shown, float) else values


def content(command: str, client) -> bytes:
    shown, _, _ = command.partition(" -o ")  # what would go to a file is read here
    arguments = shlex.split(shown.replace(PLACE, str(client.base_url)))
    return subprocess.run(arguments, check=True, capture_output=True, cwd=ROOT, timeout=120).stdout


def output(command: str, client) -> str:
    return content(command, client).decode()


def run(command: str, client) -> dict:
    return json.loads(output(command, client))


@pytest.fixture(scope="module")
def client():
    """A client of the service as it is by default."""
    with running_server(WHITEBOX_DEFAULT_MODEL="mnist-10", WHITEBOX_CERTIFY_TIMEOUT_SECONDS="110") as (
        found,
        _,
    ):
        yield found


@pytest.mark.parametrize(("document", "count"), [("README.md", 1), ("docs/getting-started.md", 4)])
def test_calls_give_the_answers_that_are_shown(client, document, count):
    text = (ROOT / document).read_text()
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    calls = curls(document)
    assert len(calls) == len(shown) == count
    for call, answer in zip(calls, shown, strict=True):
        assert answer == shortened(run(call, client), answer)


@pytest.mark.parametrize("call", curls("docs/api.md"))
def test_calls_of_the_api_document_work(client, call):
    if "Accept: image/png" in call:
        assert content(call, client).startswith(b"\x89PNG")
        return
    text = output(call, client)
    if "figure" in call:
        assert text.startswith("<svg ")
        return
    if "event-stream" in call:
        assert "event: result\ndata: " in text
        text = text.rsplit("data: ", 1)[1]
    answer = json.loads(text)
    assert {"model", "model_name", "predictions"} & set(answer), answer


def test_the_python_call_of_the_api_document_works(client):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    names = {"digit": (sample_digits()[0][0] / 255).astype(np.float32)}
    exec(block.replace(PLACE.removeprefix("http://"), client.base_url.netloc.decode()), names)
    assert names["logits"].shape == (1, 2)


@pytest.mark.parametrize(
    "command",
    ["serve", "predict", "explain", "attack", "train", "evaluate", "certify", "inside", "report", "export"],
)
def test_every_command_has_help_with_an_example(command):
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert f"Example: whitebox {command}" in done.stdout


def test_predict_and_explain_answer_on_the_command_line():
    three = ROOT / "examples" / "three.png"
    predicted = subprocess.run([WHITEBOX, "predict", three], check=True, capture_output=True, text=True)
    assert predicted.stdout.startswith("3 with confidence 0.99")
    explained = subprocess.run([WHITEBOX, "explain", three], check=True, capture_output=True, text=True)
    assert explained.stdout.startswith("3 with confidence 0.99")
    assert "sum = logit of 9" in explained.stdout  # the runner-up


def test_the_readmes_picture_is_what_explain_saves(tmp_path):
    saved = tmp_path / "explanation.svg"
    subprocess.run([WHITEBOX, "explain", ROOT / "examples" / "three.png", "--save", saved], check=True)
    assert saved.read_text() == (ROOT / "docs" / "pictures" / "explanation.svg").read_text()


def test_attack_on_the_command_line_saves_what_fools_predict(tmp_path):
    found = tmp_path / "found.png"
    five = ROOT / "examples" / "five.png"
    attacked = CliRunner().invoke(app, ["attack", str(five), "--label", "5", "--save", str(found), "--json"])
    assert attacked.exit_code == 0, attacked.output
    answer = json.loads(attacked.stdout)
    assert (answer["success"], answer["original"]["label"], answer["adversarial"]["label"]) == (True, 5, 3)
    assert found.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", "--recipe", "magic", "--sample"], "There is no recipe 'magic'. Recipes: paper, "),
        (["evaluate", "artifacts/mnist-3v5/6", "--sample", "--attack", "x"], "There is no attack 'x'"),
        (["evaluate", "nowhere"], "nowhere holds no run"),
        (["train", "--data-dir", "nowhere"], "--sample"),
        (["attack", "examples/five.png", "--label", "12"], "not 12"),
        (["predict", "README.md"], "not a readable PNG"),
        (["predict", "examples/three.png", "--model", "x"], "There is no model 'x'"),
    ],
)
def test_mistakes_on_the_command_line_get_one_clear_line(arguments, complaint, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
