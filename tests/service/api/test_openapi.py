"""The OpenAPI document: what it names exists, what exists it names, and its examples work."""

import json

import pytest
from running import PACKAGE

from service.app import create_app
from service.settings import Settings


@pytest.fixture(scope="module")
def document(client) -> dict:
    return client.get("/openapi.json").json()


def operations(document: dict) -> dict[str, dict]:
    return {each["operationId"]: each for path in document["paths"].values() for each in path.values()}


def json_bodies(document: dict) -> list[tuple[str, dict]]:
    found = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if "requestBody" in operation:
                found.append((path, operation["requestBody"]["content"]["application/json"]))
    return found


def test_operations_are_named_as_clients_call_them(document):
    assert set(operations(document)) == {
        "predict", "explain", "attack", "certify", "list_models", "get_model", "get_model_sheet",
        "v1_predict", "v1_explain",
        "v2_server_metadata", "v2_model_metadata", "v2_model_version_metadata", "v2_model_ready",
        "v2_model_version_ready", "v2_model_infer", "v2_model_version_infer", "v2_repository_index",
        "v2_repository_load", "v2_repository_unload", "live", "ready", "get_metrics",
    }  # fmt: skip


def test_every_example_of_a_body_works_when_pasted(client, document):
    tried = 0
    for path, body in json_bodies(document):
        for name, example in body.get("examples", {}).items():
            url = path.format(name="mnist-3v5", version=PACKAGE.name)
            answer = client.post(url, json=example["value"])
            assert answer.status_code == 200, (path, name, answer.text)
            tried += 1
    assert tried == 12


def test_every_body_and_every_answer_has_a_schema(document):
    for path, body in json_bodies(document):
        assert body["schema"], path
    for name, operation in operations(document).items():
        for media_type, content in operation["responses"]["200"]["content"].items():
            assert content["schema"], (name, media_type)


def test_every_schema_that_is_referred_to_is_there(document):
    text = json.dumps(document)
    for part in text.split('"$ref": "')[1:]:
        assert part.partition('"')[0].rpartition("/")[2] in document["components"]["schemas"]


def test_own_routes_tell_problems_and_other_protocols_their_errors(document):
    for name, operation in operations(document).items():
        protocol = name.startswith(("v1_", "v2_", "live", "ready"))
        expected = "application/json" if protocol else "application/problem+json"
        refused = {status: answer for status, answer in operation["responses"].items() if status[0] == "4"}
        assert refused, name
        for answer in refused.values():
            assert list(answer["content"]) == [expected], name
        assert ("422" in refused) != protocol, name


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
def test_a_raw_image_is_documented_beside_json(document, path):
    operation = document["paths"][path]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "application/json",
        "image/png",
        "image/jpeg",
        "image/webp",
    }
    assert {"model", "version"} <= {each["name"] for each in operation["parameters"]}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"api_keys": ("a-key",)}, True),
        ({"api_keys": ("a-key",), "metrics_need_key": True}, True),
    ],
)
def test_security_schemes_are_shown_where_keys_are_asked_for(settings, expected):
    document = create_app(Settings(**settings)).openapi()
    by_name = operations(document)
    schemes = set(document["components"].get("securitySchemes", {}))
    assert schemes == ({"X-API-Key", "Bearer"} if expected else set())
    secured = {name for name, operation in by_name.items() if "security" in operation}
    open_to_all = {"live", "ready"} | (set() if settings.get("metrics_need_key") else {"get_metrics"})
    assert secured == (set(by_name) - open_to_all if expected else set())
    if expected:  # either of the two is enough
        assert by_name["explain"]["security"] == [{"X-API-Key": []}, {"Bearer": []}]
