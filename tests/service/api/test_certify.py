"""POST /v1/certify on a real server, with a real worker process."""

import base64
import threading

import httpx
import numpy as np
import pytest
from running import ROOT, worker_ids

from service.api.schemas.responses import CertifyResponse

THREE, FIVE = (
    {"png": base64.b64encode((ROOT / "examples" / f"{name}.png").read_bytes()).decode()}
    for name in ("three", "five")
)


def certify(client, images, **settings):
    return client.post("/v1/certify", json={"images": images, "epsilon": 0.1, **settings})


def test_the_example_is_certified_up_to_its_radius(client):
    answer = certify(client, [THREE], labels=[3])
    assert answer.status_code == 200, answer.text
    CertifyResponse.model_validate_json(answer.content)
    (result,) = answer.json()["results"]
    assert result["verdict"] == "certified"
    assert result["margin_lower_bound"] > 0
    assert 0.1 <= result["certified_radius"] < 0.3
    radius = result["certified_radius"]
    (at,) = certify(client, [THREE], epsilon=radius, counterexample=False).json()["results"]
    (beyond,) = certify(client, [THREE], epsilon=radius + 0.01, counterexample=False).json()["results"]
    assert (at["verdict"], beyond["verdict"]) == ("certified", "unknown")


def test_a_falsified_verdict_shows_an_image_in_the_ball_that_predict_gets_wrong(client):
    (result,) = certify(client, [FIVE], labels=[5], epsilon=0.3).json()["results"]
    assert result["verdict"] == "falsified"
    assert result["margin_lower_bound"] < 0
    found = np.array(result["counterexample"]["image"])
    assert 0 <= found.min() <= found.max() <= 1
    assert result["counterexample"]["distance"]["linf"] <= 0.3
    (prediction,) = client.post("/v1/predict", json={"images": [found.tolist()]}).json()["predictions"]
    assert prediction["label"] == result["counterexample"]["prediction"]["label"] == 3


def test_an_image_that_is_not_its_label_falsifies_itself(client):
    (result,) = certify(client, [FIVE], labels=[3], epsilon=0.0, counterexample=False).json()["results"]
    assert result["verdict"] == "falsified"
    assert result["certified_radius"] == 0
    assert result["counterexample"]["distance"] == {"linf": 0, "l2": 0, "l0": 0}


def test_radius_and_verdict_agree_where_bisection_ends_below_epsilon(client, digits):
    for image in digits[0][::250].tolist():
        found = certify(client, [image], epsilon=0, counterexample=False).json()["results"][0]
        between = found["certified_radius"] + 0.0004  # bisection goes in steps of 0.001
        again = certify(client, [image], epsilon=between, counterexample=False).json()["results"][0]
        assert (again["certified_radius"] >= between) == (again["verdict"] == "certified")


def test_ten_digits_are_certified_in_the_same_way(client, three):
    answer = certify(client, [three], model="mnist-10-certified", labels=[3])
    CertifyResponse.model_validate_json(answer.content)
    (result,) = answer.json()["results"]
    assert (result["verdict"], len(result["prediction"]["logits"])) == ("certified", 10)
    (wrong,) = certify(client, [three], model="mnist-10-certified", labels=[7]).json()["results"]
    assert (wrong["verdict"], wrong["certified_radius"]) == ("falsified", 0)


def test_verdicts_of_a_batch_are_those_of_its_images(client, digits):
    images = digits[0][::125].tolist()
    together = certify(client, images, epsilon=0.2, counterexample=False).json()["results"]
    alone = [
        certify(client, [image], epsilon=0.2, counterexample=False).json()["results"][0] for image in images
    ]
    assert {result["verdict"] for result in together} == {"certified", "unknown"}
    for one, other in zip(together, alone, strict=True):
        assert one["margin_lower_bound"] == pytest.approx(other["margin_lower_bound"], abs=1e-9)
        assert one["certified_radius"] == other["certified_radius"]


def test_the_bound_alone_is_all_that_is_asked_for(client):
    (result,) = certify(client, [THREE], radius=False, counterexample=False).json()["results"]
    assert "certified_radius" not in result
    assert result["verdict"] == "certified"


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"epsilon": -0.1}, ["epsilon"]),
        ({"epsilon": 1.5}, ["epsilon"]),
        ({"norm": "l2"}, ["norm"]),
        ({"labels": [4]}, ["labels", 0]),
        ({"labels": [3, 5]}, ["labels"]),
        ({"radius": 1}, ["radius"]),
    ],
)
def test_wrong_settings_name_their_place(client, three, wrong, place):
    answer = certify(client, [three], **wrong)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == place


def test_a_raw_png_says_where_its_epsilon_belongs(client):
    png = (ROOT / "examples" / "three.png").read_bytes()
    answer = client.post("/v1/certify", content=png, headers={"Content-Type": "image/png"})
    assert answer.status_code == 415
    assert "epsilon" in answer.json()["detail"]


def test_neither_deadline_nor_a_client_that_leaves_costs_bounds_or_workers(server, digits):
    client, process = server
    images = digits[0][::16].tolist()
    assert certify(client, [FIVE]).status_code == 200
    workers = worker_ids(process.pid)

    body = {"images": images, "epsilon": 0.3}
    answer = client.post("/v1/certify", json=body, headers={"X-Request-Timeout-Ms": "2000"})
    CertifyResponse.model_validate_json(answer.content)
    verdicts = [result["verdict"] for result in answer.json()["results"]]
    assert len(verdicts) == len(images)
    assert "unknown" in verdicts

    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/certify", json={"images": [FIVE] * 64, "epsilon": 0.2}, timeout=0.3)
    assert certify(client, [THREE], counterexample=False).status_code == 200
    assert worker_ids(process.pid) == workers


def test_too_many_images_are_refused(client, three):
    assert certify(client, [three] * 65).json()["errors"][0]["loc"] == ["images"]


def test_an_attack_does_not_hold_up_certificates(client, three):
    assert certify(client, [three], counterexample=False).status_code == 200  # its worker has loaded torch
    endless = {"images": [three], "attack": "square", "epsilon": 0.01, "steps": 1000}
    slow = threading.Thread(target=client.post, args=("/v1/attack",), kwargs={"json": endless})
    slow.start()
    assert certify(client, [three], counterexample=False).status_code == 200
    assert slow.is_alive()
    slow.join()


def test_a_service_without_certify_workers_says_so(without_workers, three):
    answer = certify(without_workers, [three])
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:whitebox:problem:workers-unavailable"
