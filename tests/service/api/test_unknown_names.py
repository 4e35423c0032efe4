"""Unknown query parameters and body fields are refused everywhere, with the nearest name that is known."""

import base64
import re

import pytest
from running import PACKAGE, ROOT

from service.errors import InvalidInput
from service.http.unknown import fields_at, refuse_unknown_query

PNG = (ROOT / "examples" / "three.png").read_bytes()
IMAGE = {"image": base64.b64encode(PNG).decode()}
TENSOR = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0, 255] * 392}
VERSION = f"/v2/models/mnist-3v5/versions/{PACKAGE.name}"
ASKED = {
    "POST /v1/predict": {"images": [IMAGE]},
    "POST /v1/explain": {"images": [IMAGE]},
    "POST /v1/attack": {"images": [IMAGE], "attack": "fgsm", "epsilon": 0.1},
    "POST /v1/certify": {"images": [IMAGE], "epsilon": 0.1},
    "POST /v1/models/mnist-3v5:predict": {"instances": [IMAGE]},
    "POST /v1/models/mnist-3v5:explain": {"instances": [IMAGE]},
    "GET /v1/models": None,
    "GET /v1/models/mnist-3v5": None,
    "GET /v1/models/mnist-3v5/sheet": None,
    "GET /v2": None,
    "GET /v2/models/mnist-3v5": None,
    f"GET {VERSION}": None,
    "GET /v2/models/mnist-3v5/ready": None,
    f"GET {VERSION}/ready": None,
    "POST /v2/models/mnist-3v5/infer": {"inputs": [TENSOR]},
    f"POST {VERSION}/infer": {"inputs": [TENSOR]},
    "POST /v2/repository/index": {},
    "POST /v2/repository/models/mnist-3v5/load": {},
    "POST /v2/repository/models/mnist-10/unload": {},
    "GET /v2/health/live": None,
    "GET /v2/health/ready": None,
    "GET /metrics": None,
}


def test_every_route_is_tried_below(client):
    paths = client.get("/openapi.json").json()["paths"]
    known = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    named = {re.sub("mnist-[^/:]*", "{name}", asked) for asked in ASKED}
    assert {asked.replace(f"versions/{PACKAGE.name}", "versions/{version}") for asked in named} == known


@pytest.mark.parametrize("asked", ASKED)
def test_an_unknown_query_parameter_is_refused(client, asked):
    method, path = asked.split()
    answer = client.request(method, path, params={"modle": "mnist-10"}, json=ASKED[asked])
    assert answer.status_code == (400 if path.startswith("/v2") or ":" in path else 422), answer.text
    assert "'modle'" in answer.text or "modle:" in answer.text
    assert client.get("/v1/models/mnist-10").status_code == 200, "it was refused, not done"


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
def test_the_nearest_query_parameter_is_named(client, path):
    headers = {"Content-Type": "image/png"}
    problem = client.post(f"{path}?modle=mnist-10", content=PNG, headers=headers).json()
    assert problem["errors"][0]["loc"] == ["modle"]
    assert problem["detail"] == "modle: there is no query parameter of this name; did you mean 'model'?"
    named = client.post(f"{path}?model=mnist-10", content=PNG, headers=headers)
    assert named.json()["model"]["name"] == "mnist-10"


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
@pytest.mark.parametrize("image", [IMAGE, [[0.0, 1.0] * 14] * 28], ids=["PNG", "list"])
def test_a_query_beside_json_says_what_the_json_does_not(client, path, image):
    asked = f"{path}?model=mnist-10"
    assert client.post(asked, json={"images": [image]}).json()["model"]["name"] == "mnist-10"
    same = client.post(asked, json={"images": [image], "model": "mnist-10"})
    assert same.json()["model"]["name"] == "mnist-10"
    other = client.post(asked, json={"images": [image], "model": "mnist-3v5"})
    assert other.status_code == 422
    assert other.json()["errors"][0]["loc"] == ["model"]


def test_a_value_that_a_query_parameter_cannot_have_is_named(client):
    headers = {"Content-Type": "image/png"}
    answer = client.post("/v1/explain?include=shapes&include=why", content=PNG, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["include", 1]


@pytest.mark.parametrize(
    ("path", "body", "loc", "nearest"),
    [
        ("/v1/predict", {"images": [IMAGE], "modle": "x"}, ["modle"], "model"),
        ("/v1/predict", {"images": [IMAGE, {**IMAGE, "imag": ""}]}, ["images", 1, "imag"], "image"),
        ("/v1/explain", {"images": [IMAGE], "includes": []}, ["includes"], "include"),
        ("/v1/explain", {"images": [IMAGE, {**IMAGE, "imag": ""}]}, ["images", 1, "imag"], "image"),
        ("/v1/attack", {**ASKED["POST /v1/attack"], "query_budgett": 5}, ["query_budgett"], "query_budget"),
        ("/v1/certify", {**ASKED["POST /v1/certify"], "eps": 0.1}, ["eps"], "epsilon"),
    ],
)
def test_the_nearest_field_is_named(client, path, body, loc, nearest):
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["loc"] == loc
    assert error["msg"] == f"there is no field of this name; did you mean {nearest!r}?"


def test_where_nothing_is_near_all_that_is_known_is_named(client):
    answer = client.post("/v1/predict", json={"images": [IMAGE], "weather": "fine"})
    assert answer.json()["detail"] == (
        "weather: there is no field of this name; there are debug, images, model, preprocess, split, "
        "typicality_level, version"
    )


@pytest.mark.parametrize("query", [b"model=a", b"model=a&version=1", b"", b"%6Dodel=a", b"model"])
def test_known_parameters_pass(query):
    refuse_unknown_query(query, {"model", "version"})


@pytest.mark.parametrize(
    ("query", "end"),
    [
        (b"versoin=1", "did you mean 'version'?"),
        (b"model=a&x=1", "there are model, version"),
        (b"%ff", "there are model, version"),
        (b"=1", "there are model, version"),
        (b"Model=a", "did you mean 'model'?"),
    ],
)
def test_other_parameters_do_not(query, end):
    with pytest.raises(InvalidInput) as refused:
        refuse_unknown_query(query, {"model", "version"})
    assert refused.value.detail.endswith(end)


def test_fields_are_found_through_references_lists_and_unions():
    definitions = {"Inner": {"properties": {"a": {}, "b": {}}}}
    inner = {"$ref": "#/components/schemas/Inner"}
    schema = {
        "properties": {
            "one": inner,
            "many": {"items": inner},
            "either": {"items": {"anyOf": [{"type": "array"}, inner]}},
        }
    }
    assert fields_at([], schema, {}) == ["one", "many", "either"]
    for place in (["one"], ["many", 3], ["either", 0, "Inner"]):
        assert fields_at(place, schema, definitions) == ["a", "b"]
    assert fields_at(["either", 0, "list[float]"], schema, definitions) == []
    assert fields_at(["neither"], schema, definitions) == []
