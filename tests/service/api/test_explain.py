"""POST /v1/explain on a real server: the answer is the computation."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from running import ROOT

import whitebox
from service.api.schemas.responses import ExplainResponse
from service.codecs.figure_png import figure_png
from service.codecs.serialization import TRACE_PARTS

PNG_BODY = {"Content-Type": "image/png"}


def ask(client, images, **rest):
    answer = client.post("/v1/explain", json={"images": images, **rest})
    assert answer.status_code == 200, answer.text
    return answer.json()["explanations"]


def assert_complete(explanation):
    """Contributions at every level sum to the logit."""
    for label, logit in explanation["logits"].items():
        assert sum(explanation["claims"][label]["contributions"]) == pytest.approx(logit, abs=1e-4)
        for level in ("bright", "two_step"):
            assert np.sum(explanation["attribution"][label][level]) == pytest.approx(logit, abs=1e-4)


def test_explanations_are_complete_at_every_level(client, digits):
    for explanation in ask(client, digits[0][::40].tolist()):
        assert_complete(explanation)


@pytest.mark.slow
@pytest.mark.full_data
def test_explanations_of_all_test_digits_are_complete(client, all_test_digits):
    parts = ["claims", "attribution"]
    for images in all_test_digits.images[:, 0].split(60):
        for explanation in ask(client, images.tolist(), include=parts):
            assert_complete(explanation)


def test_explain_and_predict_give_the_same_logits(client, digits):
    images = digits[0][::20].tolist()
    predicted = client.post("/v1/predict", json={"images": images}).json()["predictions"]
    for explanation, prediction in zip(ask(client, images, include=["claims"]), predicted, strict=True):
        assert explanation["logits"] == prediction["logits"]
        assert explanation["label"] == prediction["label"]
        assert explanation["probabilities"] == pytest.approx(prediction["probabilities"], abs=1e-6)


def test_answer_follows_its_schema(client, digits):
    answer = client.post("/v1/explain", json={"images": digits[0][:2].tolist()})
    ExplainResponse.model_validate_json(answer.content)


def test_explanation_shows_what_the_network_was_given(client, three):
    (explanation,) = ask(client, [three], include=["image"])
    assert np.array_equal(np.float32(explanation["image"]), np.float32(three))
    large = io.BytesIO()
    Image.fromarray(np.uint8(np.array(three) * 255)).resize((140, 140)).save(large, "PNG")
    (explanation,) = ask(client, [{"png": base64.b64encode(large.getvalue()).decode()}], include=["image"])
    assert explanation["preprocessed"]
    assert ask(client, [explanation["image"]], include=["claims"])[0]["logits"] == explanation["logits"]


def test_trace_of_the_server_is_the_networks(client, frozen, images):
    (explanation,) = ask(client, images[3].tolist())
    trace = frozen.trace(images[3:4])
    assert np.allclose(explanation["two_step"], trace.two_step[0], atol=1e-5)
    assert np.allclose(explanation["bright"]["values"], trace.bright[0], atol=1e-5)
    assert [shape["pose"] for shape in explanation["shapes"]] == trace.pose[0].tolist()
    assert [shape["speaks_for"] for shape in explanation["shapes"]] == [3] * 4 + [5] * 4
    for shape, template in zip(explanation["shapes"], trace.templates[0], strict=True):
        assert np.allclose(shape["template"], template, atol=1e-6)
    for index, label in enumerate(("3", "5")):
        claim = explanation["claims"][label]
        assert claim["shape"] == 4 * index + trace.claim_pose[0, index]
        assert np.allclose(explanation["gradient"][label], trace.gradient[0, index], atol=1e-4)


def test_only_the_parts_asked_for_are_answered(client, three):
    (explanation,) = ask(client, [three], include=["shapes"])
    assert "shapes" in explanation
    assert not set(explanation) & (set(TRACE_PARTS) - {"shapes"})


def test_maps_come_as_pictures_when_asked(client, three):
    (explanation,) = ask(client, [three], format="png")
    for picture in (
        explanation["two_step"],
        explanation["bright"]["values"],
        explanation["shapes"][0]["template"],
        explanation["attribution"]["3"]["bright"],
        explanation["gradient"]["5"],
    ):
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert image.format == "PNG"
            assert image.width == image.height >= 28


def test_a_raw_png_takes_its_options_from_the_query(client):
    png = (ROOT / "examples" / "three.png").read_bytes()
    answer = client.post(
        "/v1/explain?include=claims&include=shapes",
        content=png,
        headers={"Content-Type": "image/png"},
    )
    (explanation,) = answer.json()["explanations"]
    assert explanation["label"] == 3
    assert {"claims", "shapes"} < set(explanation)
    assert "gradient" not in explanation


@pytest.mark.parametrize(
    ("body", "place"), [({"include": ["why"]}, ["include", 0]), ({"include": []}, ["include"])]
)
def test_unknown_parts_are_refused_by_place(client, three, body, place):
    answer = client.post("/v1/explain", json={"images": [three], **body})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == place


def test_sheet_carries_shares_of_shapes_to_the_pixels(client, three):
    """With the kernels of the sheet anyone can compute what the service says of the two-step map."""
    sheet = client.get("/v1/models/mnist-3v5/sheet").json()
    kernels = np.array(sheet["kernels"])
    (explanation,) = ask(client, [three])
    bright = {name: np.array(values) for name, values in explanation["bright"].items()}
    reach = kernels.shape[-1] // 2
    for label, claim in explanation["claims"].items():
        carried = np.zeros((28 + 2 * reach, 28 + 2 * reach))
        for shape, contribution in zip(explanation["shapes"], claim["contributions"], strict=True):
            weight = contribution / shape["activation"] if shape["activation"] > 0 else 0.0
            spread = weight * np.array(shape["template"]) / kernels.shape[-1]
            for y, x in np.argwhere(bright["values"] > 0):
                taps = kernels[bright["kernel"][y, x], bright["rotation"][y, x]]
                carried[y : y + 2 * reach + 1, x : x + 2 * reach + 1] += spread[y, x] * taps
        share = carried[reach:-reach, reach:-reach] * np.array(explanation["two_step"])
        assert np.allclose(share, explanation["attribution"][label]["two_step"], atol=1e-4)


@pytest.mark.parametrize(
    "asked",
    [{"params": {"format": "figure"}}, {"headers": {"Accept": "image/svg+xml"}}],
    ids=["query", "accept"],
)
def test_a_figure_is_the_one_that_the_library_draws(client, asked):
    three = ROOT / "examples" / "three.png"
    headers = {"Content-Type": "image/png", **asked.get("headers", {})}
    answer = client.post(
        "/v1/explain", content=three.read_bytes(), headers=headers, params=asked.get("params", {})
    )
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert answer.text == whitebox.load("mnist-3v5").explain(three).svg()
    assert "3, not 5" in ElementTree.fromstring(answer.content)[0].text


def test_a_figure_comes_as_png_to_who_takes_that_first(client):
    three = ROOT / "examples" / "three.png"
    svg = client.post("/v1/explain?format=figure", content=three.read_bytes(), headers=PNG_BODY).text
    width, height = map(int, re.search(r'width="(\d+)" height="(\d+)"', svg).groups())
    for accept in ("image/png", "image/png;q=0.9, image/svg+xml"):
        headers = {**PNG_BODY, "Accept": accept}
        answer = client.post("/v1/explain", content=three.read_bytes(), headers=headers)
        assert answer.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(answer.content)) as drawn:
            assert drawn.size == (2 * width, 2 * height)
            pixels = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
        assert (pixels == (0x1F, 0x5F, 0xBF)).all(1).any()  # bars that speak for
        assert (pixels < 60).all(1).sum() > 5000  # text and ink are there
    headers = {**PNG_BODY, "Accept": "application/json, image/png"}
    assert "explanations" in client.post("/v1/explain", content=three.read_bytes(), headers=headers).json()


def test_labels_that_our_font_lacks_are_drawn_with_the_systems_or_left_out():
    drawn = figure_png(
        '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><text y="9">ß 猫</text></svg>'
    )
    assert Image.open(io.BytesIO(drawn)).size == (80, 40)


def test_a_figure_of_two_images_is_refused_with_what_to_do(client, digits):
    answer = client.post("/v1/explain", json={"images": digits[0][:2].tolist(), "format": "figure"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][-1] == "images"
    assert "send one, or ask for json" in answer.text
