"""Packages are hostile until proved: none touches another model, the watcher, the workers or the shutdown."""

import os
import re
import subprocess
import time
from pathlib import Path

import hostile_packages as hostile
import httpx
import pytest
from running import WHITEBOX, running_server, worker_ids

THREE_LABELS = [3, 5, 7]
REFUSED = {
    "files-null": (hostile.manifest(files=None), "files"),
    "nested": (hostile.deeply_nested, "not JSON"),
    "nan-label": (
        hostile.manifest(labels=[3, float("nan")], config__labels=[3, float("nan")]),
        "not JSON",
    ),
    "three-labels": (hostile.manifest(labels=THREE_LABELS), "labels"),
    "three-labels-twice": (
        hostile.manifest(labels=THREE_LABELS, config__labels=THREE_LABELS),
        r"\(1, 2\) .* asks for \(1, 3\)",
    ),
    "other-graph": (hostile.another_networks_graph, r"\(1, 10\) .* asks for \(1, 2\)"),
    "loop": (hostile.graph(hostile.endless_loop), "subgraph"),
    "slow": (hostile.graph(hostile.slow_operators), "not ready after 5 s"),
    "huge": (hostile.graph(hostile.huge_tensor), "allocat"),
    "external": (hostile.graph(hostile.external_data("secret.bin")), "another file"),
    "external-absolute": (hostile.graph(hostile.external_data("/etc/passwd")), "another file"),
    "no-graph": (hostile.file("predict.onnx", b"\xff" * 100), "no ONNX graph"),
}
QUIET = {"WHITEBOX_ATTACK_WORKERS": "0", "WHITEBOX_MODELS_POLL_SECONDS": "0.1"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A directory with the default model, and two hostile packages that are there before the start."""
    models = tmp_path_factory.mktemp("models")
    hostile.put(models, "mnist-3v5", hostile.nothing)
    hostile.put(models, "aaa-nested", hostile.deeply_nested)
    hostile.put(models, "broken-weights", hostile.file("weights.safetensors", b"garbage"))
    return models


@pytest.fixture(scope="module")
def client(models, tmp_path_factory):
    directory = tmp_path_factory.mktemp("working-directory")
    (directory / "secret.bin").write_bytes(bytes(2**20))
    with running_server(
        cwd=directory,
        WHITEBOX_MODELS_DIR=str(models),
        WHITEBOX_MODEL_TRIAL_SECONDS="5",
        WHITEBOX_MODEL_CONTROL="true",
        WHITEBOX_CERTIFY_TIMEOUT_SECONDS="110",
        **QUIET,
    ) as (client, _):
        for name, (change, _) in REFUSED.items():
            hostile.put(models, name, change)
        yield client


def state_of(client: httpx.Client, name: str) -> tuple[str, str]:
    index = client.post("/v2/repository/index").json()
    return next(((one["state"], one["reason"]) for one in index if one["name"] == name), ("absent", ""))


def until_looked_at(client: httpx.Client, name: str) -> tuple[str, str]:
    for _ in range(600):
        state, reason = state_of(client, name)
        if state == "READY" or reason not in ("", "not loaded yet"):
            return state, reason
        time.sleep(0.1)
    raise AssertionError(f"{name} was not looked at")


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_package_is_refused_with_its_reason_and_nobody_else_notices(client, three, name):
    state, reason = until_looked_at(client, name)
    assert state == "UNAVAILABLE"
    assert re.search(REFUSED[name][1], reason), reason
    refused = client.post("/v1/predict", json={"images": [three], "model": name})
    assert refused.status_code == 404
    assert client.post("/v1/predict", json={"images": [three]}).status_code == 200
    assert [model["name"] for model in client.get("/v1/models").json()["models"]].count("mnist-3v5") == 1


def test_a_hostile_package_is_not_loaded_by_request_either(client):
    for name in ("nested", "huge"):
        assert until_looked_at(client, name)[0] == "UNAVAILABLE"
        loaded = client.post(f"/v2/repository/models/{name}/load")
        assert loaded.status_code == 409
        assert re.search(REFUSED[name][1], loaded.json()["error"])


def test_a_package_that_comes_after_hostile_ones_is_loaded(client, models, three):
    hostile.put(models, "zzz-good", hostile.nothing)
    assert until_looked_at(client, "zzz-good") == ("READY", "")
    assert client.post("/v1/predict", json={"images": [three], "model": "zzz-good"}).status_code == 200


def test_weights_that_are_none_spoil_the_certificates_of_their_model_alone(client, three):
    ask = {"images": [three], "epsilon": 0.05, "radius": False, "counterexample": False}
    for _ in range(2):
        broken = client.post("/v1/certify", json={**ask, "model": "broken-weights"})
        assert broken.status_code == 409
        assert broken.json()["type"] == "urn:whitebox:problem:model-not-loadable"
        assert "weights.safetensors" in broken.json()["detail"]
        assert client.post("/v1/certify", json=ask).status_code == 200
    assert client.get("/v2/health/ready").json()["workers"]["certificates"]["state"] == "ready"


def test_a_package_on_trial_holds_up_no_unloading_and_no_shutdown(tmp_path, three):
    for name in ("mnist-3v5", "other"):
        hostile.put(tmp_path, name, hostile.nothing)
    with running_server(
        WHITEBOX_MODELS_DIR=str(tmp_path),
        WHITEBOX_MODEL_TRIAL_SECONDS="600",
        WHITEBOX_MODEL_CONTROL="true",
        WHITEBOX_CERTIFY_WORKERS="0",
        **QUIET,
    ) as (client, process):
        hostile.put(tmp_path, "slow", hostile.graph(hostile.slow_operators))
        while not worker_ids(process.pid):
            time.sleep(0.05)
        assert client.post("/v2/repository/models/other/unload").status_code == 200
        assert client.post("/v2/repository/models/other/load").status_code == 200
        assert client.post("/v1/predict", json={"images": [three], "model": "other"}).status_code == 200
        (trying,) = worker_ids(process.pid)
    assert process.returncode == 0
    assert not Path(f"/proc/{trying}").exists()


def test_check_names_every_refused_package_in_a_line_each(tmp_path):
    for name in ("mnist-3v5", "other"):
        hostile.put(tmp_path, name, hostile.nothing)
    for name in ("files-null", "nested", "three-labels-twice"):
        hostile.put(tmp_path, name, REFUSED[name][0])
    ended = subprocess.run(
        [WHITEBOX, "serve", "--check"],
        env={**os.environ, "WHITEBOX_MODELS_DIR": str(tmp_path), "WHITEBOX_DEFAULT_MODEL": "mnist-3v5"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["mnist-3v5/1", "other/1"]
    for name in ("files-null/1", "nested/1", "three-labels-twice/1"):
        assert name in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
