"""Typicality in every answer, its level by request and by setting."""

from dataclasses import replace

import numpy as np
import pytest
from running import sample_digits

from model.conformal import p_values
from service.api.schemas.responses import CertifyResponse, PredictResponse
from service.inference.engine import Engine


@pytest.fixture(scope="module")
def sevens() -> list:
    images, labels = sample_digits()
    return (images[labels == 7][:50] / 255).tolist()


def typicality(client, images, **rest) -> list[dict]:
    answer = client.post("/v1/predict", json={"images": images, **rest})
    PredictResponse.model_validate_json(answer.content)
    return [prediction["typicality"] for prediction in answer.json()["predictions"]]


def share_of_untypical(client, images, **rest) -> float:
    return float(np.mean([not each["typical"] for each in typicality(client, images, **rest)]))


def test_digits_are_typical_and_noise_is_not(client, digits):
    noise = np.random.default_rng(0).random((50, 28, 28)).tolist()
    assert share_of_untypical(client, noise) == 1
    assert share_of_untypical(client, digits[0][::10].tolist()) <= 0.05


@pytest.mark.parametrize("model", ["mnist-10", "mnist-10-certified", "mnist-3v5-certified"])
def test_every_shipped_model_knows_noise(client, model):
    noise = np.random.default_rng(1).random((20, 28, 28)).tolist()
    assert share_of_untypical(client, noise, model=model) == 1


def test_many_digits_that_a_model_does_not_know_are_untypical_and_those_it_knows_are_not(client, sevens):
    assert share_of_untypical(client, sevens) >= 0.4
    assert share_of_untypical(client, sevens, model="mnist-10") <= 0.1


def test_the_level_is_the_requests(client, three):
    (found,) = typicality(client, [three])
    (strict,) = typicality(client, [three], typicality_level=found["p_value"])
    (mild,) = typicality(client, [three], typicality_level=found["p_value"] - 1e-9)
    assert (strict["typical"], mild["typical"]) == (False, True)
    assert strict["p_value"] == mild["p_value"] == found["p_value"]


@pytest.mark.parametrize("level", [-0.1, 1.1, "high"])
def test_a_level_that_is_none_is_refused(client, three, level):
    answer = client.post("/v1/predict", json={"images": [three], "typicality_level": level})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["typicality_level"]


def test_the_level_of_the_service_is_a_setting(client, without_workers, three):
    assert typicality(client, [three])[0]["typical"]
    assert not typicality(without_workers, [three])[0]["typical"]


def test_p_values_are_those_of_the_packages_calibration(client, package, digits):
    calibration = package.typicality
    assert list(calibration.calibration) == sorted(calibration.calibration)
    smallest = float(p_values(np.inf, calibration.calibration, calibration.shift))
    noise = np.random.default_rng(2).random((1, 28, 28)).tolist()
    assert typicality(client, noise)[0]["p_value"] == pytest.approx(smallest)


def test_all_ways_to_ask_give_the_same_p_value(client, three):
    (expected,) = typicality(client, [three])
    explained = client.post("/v1/explain", json={"images": [three], "include": ["claims"]}).json()
    assert explained["explanations"][0]["typicality"] == expected
    v1 = client.post("/v1/models/mnist-3v5:predict", json={"instances": [three]}).json()
    assert v1["predictions"][0]["typicality"] == expected
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "FP32", "data": [three]}
    asked = {"inputs": [tensor], "outputs": [{"name": "typicality_p_value"}]}
    (output,) = client.post("/v2/models/mnist-3v5/infer", json=asked).json()["outputs"]
    assert (output["datatype"], output["data"]) == ("FP64", [expected["p_value"]])
    metadata = client.get("/v2/models/mnist-3v5").json()
    assert {"typicality_p_value"} == {each["name"] for each in metadata["outputs"] if "typic" in each["name"]}


def test_a_certificate_says_whether_its_image_is_typical(client, three, sevens):
    body = {"images": [three, sevens[1]], "epsilon": 0.05, "radius": False, "counterexample": False}
    answer = client.post("/v1/certify", json={**body, "model": "mnist-3v5-certified"})
    CertifyResponse.model_validate_json(answer.content)
    for result in answer.json()["results"]:
        assert result["typical"] == result["prediction"]["typicality"]["typical"]


def test_the_list_of_models_says_what_each_tells_apart(client):
    about = {each["name"]: each["about"] for each in client.get("/v1/models").json()["models"]}
    assert about["mnist-3v5"] == (
        'Tells 3, 5 apart. All else gets one of these labels too, with "typical": false where it is noticed.'
    )


def test_a_package_without_calibration_answers_without_typicality(package, three):
    without = replace(package, manifest=package.manifest.model_copy(update={"typicality": None}))
    assert np.isnan(Engine(without).predict(np.float32([three])).p_values).all()


def test_a_certificate_proves_that_a_digit_stays_typical_and_noise_untypical(client, three):
    noise = np.random.default_rng(0).random((28, 28)).tolist()
    asked = {"images": [three, noise], "epsilon": 0.05, "model": "mnist-10-certified", "radius": False}
    digit, strange = client.post("/v1/certify", json=asked).json()["results"]
    assert (digit["typical"], digit["typical_within_epsilon"]) == (True, "always")
    assert (strange["typical"], strange["typical_within_epsilon"]) == (False, "never")
