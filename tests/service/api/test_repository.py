"""Several models and versions: loaded, replaced, refused and unloaded while the service runs."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running import PACKAGE, ROOT, running_server, until

from model.package_directory import newest_package

CERTIFIED = newest_package(ROOT / "artifacts", "mnist-3v5-certified").directory


def put(package: Path, models: Path, name: str, version: str, **changes: object) -> Path:
    """Copies a package into a model directory under another name and version, whole at once."""
    directory = models / name / version
    hidden = models / name / f".{version}.part"
    shutil.copytree(package, hidden)
    manifest = json.loads((hidden / "manifest.json").read_text())
    manifest.update(name=name, version=version, **changes)
    (hidden / "manifest.json").write_text(json.dumps(manifest))
    hidden.rename(directory)
    return directory


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[httpx.Client, Path]]:
    """A service and its directory of models, which it looks at all the time."""
    models = tmp_path_factory.mktemp("models")
    put(PACKAGE, models, "mnist-3v5", "1")
    with running_server(
        WHITEBOX_MODELS_DIR=str(models),
        WHITEBOX_MODELS_POLL_SECONDS="0.1",
        WHITEBOX_MODEL_CONTROL="true",
        WHITEBOX_ATTACK_WORKERS="0",
    ) as (client, _):
        yield client, models


@pytest.fixture
def running(served) -> httpx.Client:
    return served[0]


@pytest.fixture
def models(served) -> Iterator[Path]:
    """The directory, with version 1 of one model before each test and after it."""
    client, directory = served
    yield directory
    for package in directory.glob("*/*"):
        if package != directory / "mnist-3v5" / "1":
            shutil.rmtree(package)
    only = [("mnist-3v5", "1", "READY")]
    until(lambda: [tuple(one.values())[:3] for one in client.post("/v2/repository/index").json()] == only, 10)


def answered_by(client: httpx.Client, image, **choice: str) -> str | int:
    answer = client.post("/v1/predict", json={"images": [image], **choice})
    return answer.json()["model"]["version"] if answer.status_code == 200 else answer.status_code


def test_the_newest_version_answers_and_older_ones_can_be_asked(running, models, three):
    assert answered_by(running, three) == "1"
    put(CERTIFIED, models, "mnist-3v5", "10")
    put(CERTIFIED, models, "mnist-3v5", "9")
    until(lambda: running.get("/v1/models/mnist-3v5").json()["versions"] == ["1", "9", "10"], 10)
    assert answered_by(running, three) == "10"
    assert answered_by(running, three, version="1") == "1"
    assert answered_by(running, three, version="2") == 404
    logits = [
        running.post("/v1/predict", json={"images": [three], "version": version}).json()["predictions"]
        for version in ("1", "9", "10")
    ]
    assert logits[0] != logits[1] == logits[2]
    infer = {"inputs": [{"name": "image", "shape": [1, 28, 28], "datatype": "FP32", "data": [three]}]}
    old = running.post("/v2/models/mnist-3v5/versions/1/infer", json=infer).json()
    assert old["model_version"] == "1"
    shutil.rmtree(models / "mnist-3v5" / "10")
    until(lambda: answered_by(running, three) == "9", 10)


def test_certificates_are_those_of_the_version_that_answers(running, models, three):
    ask = {"images": [three], "epsilon": 0.2, "radius": False, "counterexample": False}
    before = running.post("/v1/certify", json=ask).json()
    put(CERTIFIED, models, "mnist-3v5", "2")
    until(lambda: answered_by(running, three) == "2", 10)
    after = running.post("/v1/certify", json=ask).json()
    again = running.post("/v1/certify", json={**ask, "version": "1"}).json()
    assert after["model"]["version"] == "2"
    assert after["results"] != before["results"] == again["results"]


def test_a_damaged_package_is_refused_and_the_old_one_goes_on(running, models, three):
    directory = models / "mnist-3v5" / "1"
    good = (directory / "predict.onnx").read_bytes()
    (directory / "predict.onnx").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))

    def reason() -> str:
        (one,) = running.post("/v2/repository/index").json()
        return one["reason"]

    until(lambda: "does not match the SHA-256" in reason(), 10)
    assert answered_by(running, three) == "1"
    refused = running.post("/v2/repository/models/mnist-3v5/load")
    assert refused.status_code == 409
    assert "does not match" in refused.json()["error"]
    assert answered_by(running, three) == "1"
    (directory / "predict.onnx").write_bytes(good)
    until(lambda: not reason(), 10)
    assert running.post("/v2/repository/models/mnist-3v5/load").status_code == 200


@pytest.mark.parametrize("damage", ["no manifest", "broken manifest", "no graph", "another name"])
def test_no_kind_of_damage_gets_a_package_loaded(running, models, three, damage):
    directory = put(CERTIFIED, models, "other", "1")
    hidden = directory.rename(models / "other" / ".1")
    manifest = hidden / "manifest.json"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "broken manifest":
        manifest.write_text("{")
    elif damage == "no graph":
        (hidden / "explain.onnx").unlink()
    else:
        manifest.write_text(manifest.read_text().replace('"other"', '"another"'))
    hidden.rename(directory)
    time.sleep(0.5)
    assert answered_by(running, three, model="other") == 404
    assert answered_by(running, three) == "1"


def test_an_unloaded_model_is_gone_until_it_is_loaded(running, models, three):
    put(CERTIFIED, models, "other", "1")
    until(lambda: answered_by(running, three, model="other") == "1", 10)
    assert running.post("/v2/repository/models/other/unload").status_code == 200
    assert answered_by(running, three, model="other") == 404
    time.sleep(0.5)  # and the look at the directory does not bring it back
    assert answered_by(running, three, model="other") == 404
    index = {one["name"]: one["state"] for one in running.post("/v2/repository/index").json()}
    assert index == {"mnist-3v5": "READY", "other": "UNAVAILABLE"}
    assert len(running.post("/v2/repository/index", json={"ready": True}).json()) == 1
    assert running.post("/v2/repository/models/other/load").status_code == 200
    assert answered_by(running, three, model="other") == "1"


@pytest.mark.slow
def test_reloads_cost_no_request_and_every_answer_is_one_models(running, models, digits):
    """While version 2 comes and goes, every answer is version 1's or version 2's, and says which."""
    images = digits[0][:8].tolist()
    expected = {"1": running.post("/v1/predict", json={"images": images}).json()["predictions"]}
    directory = put(CERTIFIED, models, "mnist-3v5", "2")
    until(lambda: answered_by(running, images[0]) == "2", 10)
    expected["2"] = running.post("/v1/predict", json={"images": images}).json()["predictions"]
    stop, wrong, count = threading.Event(), [], [0]

    def ask() -> None:
        with httpx.Client(base_url=running.base_url) as client:
            while not stop.is_set():
                answer = client.post("/v1/predict", json={"images": images})
                count[0] += 1
                body = answer.json()
                if answer.status_code != 200 or body["predictions"] != expected[body["model"]["version"]]:
                    wrong.append(body)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for _ in range(4):
        hidden = directory.rename(directory.with_name(".2"))
        time.sleep(0.2)
        hidden.rename(directory)
        running.post("/v2/repository/models/mnist-3v5/load")
        time.sleep(0.2)
    stop.set()
    for asker in askers:
        asker.join()
    assert count[0] > 20
    assert not wrong


def test_models_are_not_controlled_by_everybody_unless_that_is_switched_on(without_workers, three):
    for change in ("load", "unload"):
        answer = without_workers.post(f"/v2/repository/models/mnist-3v5/{change}")
        assert answer.status_code == 403
    assert without_workers.post("/v2/repository/index").status_code == 200
    assert answered_by(without_workers, three) == PACKAGE.name
