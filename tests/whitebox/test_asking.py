"""predict, explain, attack and certify on the command line: for people, a model here or a service."""

import json
import os
import re
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from running import ROOT, WHITEBOX, on_a_terminal, running_server
from typer.testing import CliRunner

from service.settings import SettingsError, load_settings
from whitebox.cli import app

THREE, FIVE = ROOT / "examples" / "three.png", ROOT / "examples" / "five.png"
ESCAPE = "\x1b"
HALF_BLOCK = "▀"
COMMANDS = [
    ("predict", THREE),
    ("explain", THREE),
    ("attack", FIVE, "--attack", "fgsm", "--epsilon", "0.3"),
    ("certify", THREE, "--epsilon", "0.1"),
]


def run(*arguments, **environment):
    """Runs a command in this process; the model of two digits answers."""
    return CliRunner().invoke(
        app, [*map(str, arguments)], env={"WHITEBOX_DEFAULT_MODEL": "mnist-3v5", **environment}
    )


def whitebox(*arguments, **environment) -> str:
    """Returns the output of a command."""
    done = run(*arguments, **environment)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def one_line(*arguments, **environment) -> str:
    """Returns the line in which a command says why it failed."""
    done = run(*arguments, **environment)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_prediction_in_a_pipe_is_plain_text_with_picture_and_bars():
    shown = whitebox("predict", THREE)
    assert ESCAPE not in shown
    assert HALF_BLOCK not in shown
    lines = [line.rstrip() for line in shown.splitlines()]
    assert lines[0] == "3 with confidence 0.9994"
    assert re.fullmatch(r"The image looks like what the model was trained on \(p-value 1\.0000\)\.", lines[1])
    (bar_of_three,) = (line for line in lines if "0.9994" in line and "█" * 20 in line)
    assert re.search(r" 3 █+ 0\.9994$", bar_of_three)
    assert any(re.search(r"▓█{3,}▓", line) for line in lines)  # the digit itself


def test_on_a_terminal_there_are_colours_unless_they_are_not_wanted():
    colours = on_a_terminal("predict", THREE, COLORTERM="truecolor")
    assert colours.count(HALF_BLOCK) == 28 * 14
    assert f"{ESCAPE}[38;2;255;255;255" in colours
    without = on_a_terminal("predict", THREE, NO_COLOR="1")
    assert HALF_BLOCK not in without
    assert "█" in without


def test_where_nothing_but_ascii_can_be_written_the_picture_is_ascii():
    done = subprocess.run(
        [WHITEBOX, "explain", THREE],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "WHITEBOX_DEFAULT_MODEL": "mnist-3v5", "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.isascii()
    assert re.search(r"\*#{3,}\*", done.stdout)
    assert "sum = logit of 5   -6.342" in done.stdout


def test_the_claims_of_an_explanation_add_up_to_the_logits():
    shown = whitebox("explain", THREE).replace("\N{MINUS SIGN}", "-")
    assert "3, not 5: shape 2 adds +2.84" in shown
    logits = json.loads(whitebox("explain", THREE, "--json"))["logits"]
    parts = re.split(r"what adds up to the logit of (\d)\n", shown)
    assert parts[1::2] == ["3", "5"]
    for label, lines in zip(parts[1::2], parts[2::2], strict=True):
        claims = [
            float(value) for value in re.findall(r"^  (?:shape|\d+ others).* ([+-]\d\.\d{3})", lines, re.M)
        ]
        (total,) = re.findall(rf"sum = logit of {label} +([+-]\d\.\d+)", lines)
        assert sum(claims) == pytest.approx(logits[label], abs=0.005)
        assert float(total) == pytest.approx(logits[label], abs=0.001)


def test_an_attack_shows_three_pictures_with_both_answers_in_80_columns():
    shown = whitebox("attack", FIVE)
    assert re.match(r"original: +5 with .*\nadversarial: 3 with .*\nsuccess after [\d,]+ queries; ", shown)
    assert re.search(r"^original: 5 +adversarial: 3 +difference *$", shown, re.M)
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "said", "also"),
    [
        (
            ["--epsilon", "0.1", "--model", "mnist-3v5-certified"],
            "certified: 3 stays 3 within 0.1\nProved: how",
            "Proved: every image within 0.1 looks like what the model was trained on.",
        ),
        (["--epsilon", "0.6"], "falsified: 3 becomes 5 within 0.6\nShown by an image", ""),
        pytest.param(
            ["--label", "5"], "falsified: the image itself is taken for 3, not 5", "", marks=pytest.mark.slow
        ),
    ],
)
def test_a_certificate_says_in_words_what_it_proves(options, said, also):
    shown = whitebox("certify", THREE, *options)
    assert shown.startswith(said)
    assert also in shown
    assert "not that it is true" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["certify", THREE, "--limit", "3"], "--limit is an option of a package or a run"),
        (["certify", "artifacts/mnist-3v5/6", "--url", "http://x"], "--url is an option of an image"),
        (["certify", THREE, "--epsilon", "0.1", "--epsilon", "0.2"], "one --epsilon at a time"),
        (["certify", "nowhere.png"], "There is no image, package or run nowhere.png"),
    ],
)
def test_what_certify_would_pass_over_is_refused(arguments, said):
    assert said in one_line(*arguments)


OWN_RADIUS = [("attack", FIVE, "--attack", "fgsm"), ("certify", THREE)]
SLOW = [pytest.param(command, marks=pytest.mark.slow) for command in OWN_RADIUS]


@pytest.mark.parametrize("command", [*COMMANDS, *SLOW], ids=lambda command: command[0])
def test_a_service_is_asked_for_the_same_answer(client, command):
    served = whitebox(*command, "--url", client.base_url)
    assert served == whitebox(*command, WHITEBOX_CERTIFY_TIMEOUT_SECONDS="110")


def test_without_a_radius_it_is_the_models_own(client):
    for where in ([], ["--url", client.base_url]):
        assert "3 within 0.3" in whitebox("certify", THREE, *where, WHITEBOX_CERTIFY_TIMEOUT_SECONDS="110")
        assert "name one for l2: --epsilon" in one_line("attack", FIVE, "--norm", "l2", *where)


def test_json_of_a_service_is_its_answer(client):
    for command, name in zip(COMMANDS, ("predictions", "explanations", "results", "results"), strict=True):
        answer = json.loads(whitebox(*command, "--url", client.base_url, "--json"))
        assert answer["model"]["name"] == "mnist-3v5"
        assert len(answer[name]) == 1
    png = THREE.read_bytes()
    sent = client.post("/v1/predict", content=png, headers={"Content-Type": "image/png"}).json()
    assert json.loads(whitebox("predict", THREE, "--url", client.base_url, "--json")) == sent


def test_a_label_and_the_figure_are_asked_of_the_service_too(client, tmp_path):
    asked = ("certify", THREE, "--label", "5", "--url", client.base_url, "--json")
    assert json.loads(whitebox(*asked))["results"][0]["verdict"] == "falsified"
    assert "tells 3, 5 apart, not 8" in one_line(*asked, "--label", "8")
    for file, where in (("here.svg", []), ("there.svg", ["--url", client.base_url])):
        whitebox("explain", THREE, "--save", tmp_path / file, *where)
    assert (tmp_path / "here.svg").read_bytes() == (tmp_path / "there.svg").read_bytes()


def test_a_refusal_of_the_service_is_one_line_with_its_detail(client):
    png, headers = THREE.read_bytes(), {"Content-Type": "image/png"}
    detail = client.post("/v1/predict?model=x", content=png, headers=headers).json()["detail"]
    assert "There is no model 'x'" in detail
    assert one_line("predict", THREE, "--url", client.base_url, "--model", "x") == detail
    assert "readable PNG" in one_line("predict", ROOT / "README.md", "--url", client.base_url)


def test_the_api_key_is_an_option_or_a_variable():
    workers = {"WHITEBOX_ATTACK_WORKERS": "0", "WHITEBOX_CERTIFY_WORKERS": "0"}
    with running_server(only="mnist-3v5", WHITEBOX_API_KEYS="right", **workers) as (client, _):
        ask = ("predict", THREE, "--url", client.base_url)
        assert "Send an API key" in one_line(*ask)
        assert one_line(*ask, "--api-key", "wrong") == "The API key is not known."
        assert whitebox(*ask, "--api-key", "right") == whitebox(*ask, WHITEBOX_API_KEY="right")


def test_the_variable_of_the_key_opens_no_service_by_mistake(monkeypatch):
    monkeypatch.setenv("WHITEBOX_API_KEY", "secret")
    with pytest.raises(SettingsError, match="did you mean WHITEBOX_API_KEYS"):
        load_settings()
    assert whitebox("predict", THREE).startswith("3 with")


def test_where_no_service_is_there_is_one_line_with_what_to_do():
    assert "`whitebox serve`" in one_line("predict", THREE, "--url", "http://127.0.0.1:9")
    assert "--url http://HOST:PORT" in one_line("predict", THREE, "--url", "127.0.0.1:9")


@pytest.mark.parametrize("status", [200, 404])
def test_another_server_is_told_from_a_service(status):
    class Page(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    line = one_line("predict", THREE, "--url", f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    assert f"answers {status}, and not as a service of ours does" in line
