"""Bad input gets the right problem that names the place, and the next request works."""

import asyncio
import base64
import struct
import zlib

import httpx
import numpy as np
import pytest
from running import ROOT

from service.app import create_app
from service.errors import Problem
from service.http.problems import ProblemBody
from service.settings import Settings

GOOD = [[0.0] * 14 + [1.0] * 14] * 28


def post(client, body, path="/v1/predict") -> httpx.Response:
    if isinstance(body, bytes):
        return client.post(path, content=body, headers={"Content-Type": "application/json"})
    return client.post(path, json=body)


def png_bomb() -> bytes:
    """A small valid PNG file that says it is 50,000 x 50,000 pixels large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def nested(value) -> list:
    image = [row.copy() for row in GOOD]
    image[4][7] = value
    return [image]


def base64_png(content: bytes) -> list:
    return [{"png": base64.b64encode(content).decode()}]


WHOLE_PNG = (ROOT / "examples" / "three.png").read_bytes()

BAD = {
    "NaN": (b'{"images": [[[NaN]]]}', 422, ["images", 0, 0, 0]),
    "a pixel is NaN": (str({"images": nested("@")}).replace("'@'", "NaN").replace("'", '"').encode(), 422,
                       ["images", 0, 4, 7]),
    "a pixel is infinite": (str({"images": nested("@")}).replace("'@'", "1e999").replace("'", '"').encode(),
                            422, ["images", 0, 4, 7]),
    "27 x 28": ({"images": [GOOD[:27]]}, 422, ["images", 0]),
    "28 x 27": ({"images": [[row[:27] for row in GOOD]]}, 422, ["images", 0]),
    "above 1": ({"images": nested(1.001)}, 422, ["images", 0, 4, 7]),
    "below 0": ({"images": nested(-0.5)}, 422, ["images", 0, 4, 7]),
    "a string": ({"images": nested("0.5")}, 422, ["images", 0, 4, 7]),
    "a truth value": ({"images": nested(True)}, 422, ["images", 0, 4, 7]),
    "null": ({"images": nested(None)}, 422, ["images", 0, 4, 7]),
    "bad image among good ones": ({"images": [GOOD, *nested(9), GOOD]}, 422, ["images", 1, 4, 7]),
    "no images": ({"images": []}, 422, ["images"]),
    "images is a number": ({"images": 5}, 422, ["images"]),
    "no field images": ({}, 422, ["images"]),
    "an unknown field": ({"images": [GOOD], "imags": 1}, 422, ["imags"]),
    "an unknown field without a name": ({"images": [GOOD], "": 1}, 422, [""]),
    "an unknown field in an image": ({"images": [{"png": "a", "List[": 1}]}, 422, ["images", 0, "List["]),
    "images is an object": ({"images": {}}, 422, ["images"]),
    "an image without rows": ({"images": [[]]}, 422, ["images", 0]),
    "an image of one empty row": ({"images": [[[]]]}, 422, ["images", 0, 0]),
    "an image with an empty row": ({"images": [[[1], []]]}, 422, ["images", 0, 0]),
    "an image is a number": ({"images": [GOOD, 7]}, 422, ["images", 1]),
    "an image is null": ({"images": [None]}, 422, ["images", 0]),
    "an image is an empty object": ({"images": [{}]}, 422, ["images", 0, "image"]),
    "the body is a list": ([], 422, []),
    "the body is null": (b"null", 422, []),
    "257 images": ({"images": [GOOD] * 257}, 422, ["images"]),
    "10,000 PNG images": ({"images": base64_png(WHOLE_PNG) * 10_000}, 422, []),
    "10,000 nested images": ({"images": [GOOD] * 10_000}, 413, None),
    "50 MB": (b"[" * 50_000_000, 413, None),
    "not JSON": (b"{images}", 422, []),
    "an empty body": (b"", 422, []),
    "deep nesting": (b"[" * 100_000, 422, []),
    "not even ASCII": ({"images": [{"png": "é"}]}, 422, ["images", 0]),
    "not base64": ({"images": [{"png": "%%%"}]}, 422, ["images", 0]),
    "half a PNG": ({"images": base64_png(WHOLE_PNG[:150])}, 422, ["images", 0]),
    "a JPEG": ({"images": base64_png(b"\xff\xd8\xff\xe0" + bytes(100))}, 422, ["images", 0]),
    "a PNG bomb": ({"images": base64_png(png_bomb())}, 422, ["images", 0]),
    "unknown model": ({"images": [GOOD], "model": "mnist-99"}, 404, None),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_the_right_problem_and_the_next_request_works(client, three, case, path):
    body, status, place = BAD[case]
    answer = post(client, body, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = ProblemBody.model_validate_json(answer.content)
    assert problem.status == status
    assert problem.detail
    if place is not None:
        assert problem.errors
        assert problem.errors[0].loc == place
    assert post(client, {"images": [three]}, path).status_code == 200


LIMITS_OF_THEIR_OWN = {"257 images"}


@pytest.mark.parametrize("case", sorted(set(BAD) - LIMITS_OF_THEIR_OWN))
def test_predict_and_explain_find_the_same_faults(client, case):
    """One is answered before FastAPI, the other by it."""
    faults = []
    for path in ("/v1/predict", "/v1/explain"):
        problem = post(client, BAD[case][0], path).json()
        faults.append((problem["type"], [error["loc"] for error in problem.get("errors", [])]))
    assert faults[0] == faults[1]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
def test_a_broken_raw_png_is_refused(client, path):
    for content, reason in (
        (b"", "the file is empty"),
        (b"no png", "not a readable PNG, JPEG or WebP: these bytes are none of these files"),
        (WHOLE_PNG[:100], "truncated"),
        (png_bomb(), "2500000000 pixels"),
    ):
        answer = client.post(path, content=content, headers={"Content-Type": "image/png"})
        assert answer.status_code == 422
        assert reason in answer.json()["detail"]
        assert "object at 0x" not in answer.text


def test_other_media_types_are_refused(client):
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "image/gif"}):
        answer = client.post("/v1/predict", content=b"{}", headers=headers)
        assert answer.status_code == 415
    answer = client.post("/v1/attack", content=WHOLE_PNG, headers={"Content-Type": "image/png"})
    assert answer.status_code == 415


def test_unknown_paths_and_methods_are_problems_too(client):
    missing, method = client.get("/v1/nothing"), client.get("/v1/predict")
    assert (missing.status_code, method.status_code) == (404, 405)
    assert missing.json()["type"] == "urn:whitebox:problem:not-found"
    assert method.json()["type"] == "urn:whitebox:problem:method-not-allowed"
    assert client.get("/v1/models/mnist-99").json()["type"] == "urn:whitebox:problem:model-not-found"


def test_an_unexpected_error_shows_nothing_of_itself_but_goes_to_the_log(caplog):
    app = create_app(Settings())

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("secret of the house")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/broken", headers={"X-Request-ID": "abc"})

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] == "abc"
    assert answer.json()["type"] == "urn:whitebox:problem:internal-error"
    assert "secret" not in answer.text
    assert "secret of the house" in caplog.text


def test_every_problem_is_documented_and_stable():
    documented = (ROOT / "docs" / "api.md").read_text()
    kinds = Problem.__subclasses__()
    for problem in kinds:
        kinds += problem.__subclasses__()  # grows while it is read
        assert f"`{problem.slug}` | {problem.status}" in documented


def test_a_whole_batch_of_edge_values_is_accepted(client):
    image = np.zeros((28, 28))
    image[0, 0], image[0, 1] = 1.0, 5e-324
    assert post(client, {"images": [image.tolist()]}).status_code == 200
