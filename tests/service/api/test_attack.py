"""POST /v1/attack on a real server, with real worker processes."""

import base64
import os
import signal
import threading
import time

import httpx
import numpy as np
import pytest
from running import ROOT, running_server, worker_ids

from model.attacks.settings import SERVED_ATTACKS
from service.api.schemas.responses import AttackResponse

FIVE = {"png": base64.b64encode((ROOT / "examples" / "five.png").read_bytes()).decode()}


def attack(client, images, **settings):
    return client.post("/v1/attack", json={"images": images, "epsilon": 0.3, **settings})


def test_pgd_turns_the_example_into_another_digit(client):
    answer = attack(client, [FIVE], attack="pgd", labels=[5])
    assert answer.status_code == 200, answer.text
    AttackResponse.model_validate_json(answer.content)
    (result,) = answer.json()["results"]
    assert result["success"]
    assert (result["original"]["label"], result["adversarial"]["label"]) == (5, 3)
    assert result["stopped_by"] == "success"


@pytest.mark.parametrize("name", SERVED_ATTACKS)
def test_every_attack_answers_inside_ball_and_box(client, digits, name):
    image = digits[0][3]
    answer = attack(client, [image.tolist()], attack=name, epsilon=0.2, query_budget=150, seed=1)
    (result,) = answer.json()["results"]
    found = np.array(result["image"])
    apart = np.abs(found - image.astype(np.float64)).max()
    assert apart <= 0.2
    assert result["distance"]["linf"] == pytest.approx(apart)
    assert 0 <= found.min() <= found.max() <= 1
    assert result["queries"] <= 150


def test_success_means_that_predict_is_fooled(client):
    (result,) = attack(client, [FIVE], attack="apgd", labels=[5]).json()["results"]
    (prediction,) = client.post("/v1/predict", json={"images": [result["image"]]}).json()["predictions"]
    assert result["success"] == (prediction["label"] != 5)
    assert prediction["logits"] == result["adversarial"]["logits"]


def test_the_same_seed_gives_the_same_answer(client, three):
    first, second = (attack(client, [three], attack="square", steps=100, seed=9).json() for _ in range(2))
    assert first == second


def test_labels_default_to_what_the_model_says(client, digits):
    results = attack(client, digits[0][[0, 900]].tolist(), attack="fgsm").json()["results"]
    assert [result["label"] for result in results] == [3, 5]


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"attack": "teleport"}, ["attack"]),
        ({"attack": "pgd", "epsilon": -0.1}, ["epsilon"]),
        ({"attack": "pgd", "epsilon": "0.3"}, ["epsilon"]),
        ({"attack": "pgd", "seed": False}, ["seed"]),
        ({"attack": "pgd", "norm": "l7"}, ["norm"]),
        ({"attack": "pgd", "labels": [3, 5]}, ["labels"]),
        ({"attack": "pgd", "labels": [4]}, ["labels", 0]),
        ({"attack": "pgd", "query_budget": 10**9}, ["query_budget"]),
        ({"attack": "pgd", "steps": 0}, ["steps"]),
        ({}, ["attack"]),
    ],
)
def test_wrong_settings_are_refused_by_place(client, three, wrong, place):
    answer = attack(client, [three], **wrong)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["loc"] == place


def test_nine_images_are_too_many_for_one_request(client, three):
    answer = attack(client, [three] * 9, attack="fgsm")
    assert answer.status_code == 422
    assert "at most 8" in answer.json()["detail"]


def test_workers_leave_the_processor_to_predictions(server):
    client, process = server
    assert attack(client, [FIVE], attack="fgsm").status_code == 200
    workers = worker_ids(process.pid)
    assert workers
    assert all(os.getpriority(os.PRIO_PROCESS, worker) == 10 for worker in workers)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) < 10


def test_predictions_go_on_while_an_attack_runs(client, three):
    slow = threading.Thread(target=attack, args=(client, [three]), kwargs={"attack": "square", "steps": 1500})
    slow.start()
    for _ in range(20):
        assert client.post("/v1/predict", json={"images": [three]}).status_code == 200
    assert slow.is_alive()
    slow.join()


@pytest.fixture(scope="module")
def one_worker():
    """A service of its own with one worker, which tests may kill or keep busy."""
    # On a busy machine a new worker loads torch longer than the 30 s of the service.
    settings = {"WHITEBOX_ATTACK_TIMEOUT_SECONDS": "110", "WHITEBOX_ATTACK_QUEUE": "1"}
    with running_server(only="mnist-3v5", WHITEBOX_CERTIFY_WORKERS="0", **settings) as running:
        yield running


def test_a_killed_worker_fails_its_own_request_only_and_is_replaced(one_worker):
    client, process = one_worker
    assert attack(client, [FIVE], attack="fgsm").status_code == 200
    (worker,) = worker_ids(process.pid)
    threading.Timer(0.5, os.kill, (worker, signal.SIGKILL)).start()
    lost = attack(client, [FIVE] * 8, attack="square", epsilon=0.01, steps=100_000)
    assert lost.status_code == 500
    assert lost.json()["type"] == "urn:whitebox:problem:worker-lost"
    assert attack(client, [FIVE], attack="fgsm").status_code == 200
    assert worker_ids(process.pid) != {worker}


def test_a_worker_that_dies_idle_costs_nobodys_request(one_worker):
    client, process = one_worker
    assert attack(client, [FIVE], attack="fgsm").status_code == 200
    (worker,) = worker_ids(process.pid)
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.3)
    assert attack(client, [FIVE], attack="fgsm").status_code == 200


def test_deadline_queue_and_disconnect(one_worker):
    client, process = one_worker
    assert attack(client, [FIVE], attack="fgsm").status_code == 200
    worker = worker_ids(process.pid)
    settings = {"attack": "square", "epsilon": 0.01, "steps": 100_000}

    def endless(images):
        body = {"images": images, **settings}
        return client.post("/v1/attack", json=body, headers={"X-Request-Timeout-Ms": "1500"})

    started = time.monotonic()
    results = endless([FIVE] * 3).json()["results"]
    assert [result["stopped_by"] for result in results] == ["deadline"] * 3
    assert results[0]["queries"] > results[2]["queries"] == 1
    assert time.monotonic() - started < 6

    answers = []
    threads = [threading.Thread(target=lambda: answers.append(endless([FIVE]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(answer.status_code for answer in answers)
    assert codes[-2:] == [429, 429] or codes[-3:] == [429, 429, 504]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["Retry-After"]) > 0

    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/attack", json={"images": [FIVE], **settings}, timeout=0.5)
    started = time.monotonic()
    assert attack(client, [FIVE], attack="fgsm").status_code == 200
    assert time.monotonic() - started < 2, "the attack of the client that left still ran"
    assert worker_ids(process.pid) == worker, "a cancelled attack needs no new worker"


def test_a_service_without_workers_says_so(without_workers, three):
    answer = attack(without_workers, [three], attack="pgd")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:whitebox:problem:workers-unavailable"
