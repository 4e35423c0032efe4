"""Photographs of digits through the service: files, rows of digits, what is no digit."""

import base64
import io

import numpy as np
import pytest
from photos import MNIST_FORM, on_paper, photograph
from PIL import Image
from running import sample_digits

from service.api.schemas.responses import ExplainResponse, PredictResponse
from service.codecs.preprocessing import read_image_file

MODEL = "mnist-10"
MOST_PIXELS = 10**7


@pytest.fixture(scope="module")
def ten() -> tuple[np.ndarray, np.ndarray]:
    """One training digit of each class: images (10, 28, 28) in [0, 1], and labels."""
    images, labels = sample_digits()
    chosen = np.arange(7, 5000, 500)
    return (images[chosen] / 255).astype(np.float32), labels[chosen]


def file_image(content: bytes, name: str = "image") -> dict[str, str]:
    return {name: base64.b64encode(content).decode()}


def png_of(picture: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def blank_png() -> bytes:
    return png_of(Image.new("L", (300, 200), 230))


def ask(client, *images, path="/v1/predict", **rest):
    answer = client.post(path, json={"images": list(images), "model": MODEL, **rest})
    assert answer.status_code == 200, answer.text
    return answer.json()


def labels_of(answer) -> list[int]:
    return [prediction["label"] for prediction in answer["predictions"]]


def test_photographs_are_answered_with_what_was_done_and_where_the_digit_was(client, ten):
    photos = [photograph(digit, "shadow", seed) for seed, digit in enumerate(ten[0])]
    answer = ask(client, *map(file_image, photos))
    PredictResponse.model_validate(answer, strict=True)
    assert (np.array(labels_of(answer)) == ten[1]).sum() >= 9
    for content, prediction in zip(photos, answer["predictions"], strict=True):
        prepared = MNIST_FORM.one(read_image_file(content, MOST_PIXELS))
        assert prediction["preprocessed"] == list(prepared.steps)
        assert prediction["box"] == prepared.box._asdict()


def test_image_and_png_are_two_names_of_one_field(client, ten):
    content = photograph(ten[0][3], "pen", 0)
    assert ask(client, file_image(content)) == ask(client, file_image(content, "png"))
    both = {**file_image(content), **file_image(content, "png")}
    assert client.post("/v1/predict", json={"images": [both]}).status_code == 422


def test_kserve_takes_photographs_by_either_name(client, ten):
    content = photograph(ten[0][4], "pen", 1)
    expected = ask(client, file_image(content))["predictions"]
    for name in ("image", "png"):
        body = {"instances": [file_image(content, name)]}
        assert client.post(f"/v1/models/{MODEL}:predict", json=body).json()["predictions"] == expected


def test_lists_are_raw_numbers_unless_preprocessing_is_asked_for(client, ten):
    inverted = (1 - ten[0][2]).tolist()
    raw = ask(client, inverted, debug="preprocessing")["predictions"][0]
    assert np.array_equal(np.float32(raw["image"]), np.float32(inverted))
    assert "preprocessed" not in raw
    prepared = ask(client, inverted, preprocess=True, debug="preprocessing")["predictions"][0]
    assert prepared["preprocessed"] == ["inverted"]
    assert np.array(prepared["image"]) == pytest.approx(ten[0][2], abs=1e-6)
    assert prepared["label"] == ten[1][2]


def test_a_list_in_the_networks_form_passes_preprocessing_bit_for_bit(client, ten):
    image = ten[0][5].tolist()
    prepared = ask(client, image, preprocess=True, debug="preprocessing")["predictions"][0]
    assert np.array_equal(np.float32(prepared["image"]), ten[0][5])
    assert prepared["preprocessed"] == []
    plain = ask(client, image)["predictions"][0]
    assert prepared["logits"] == plain["logits"]


def test_debugging_shows_what_the_network_saw(client, ten):
    content = photograph(ten[0][6], "falling light", 2)
    seen = MNIST_FORM.one(read_image_file(content, MOST_PIXELS)).pixels
    headers = {"Content-Type": "image/jpeg"}
    path = f"/v1/predict?model={MODEL}&debug=preprocessing"
    (prediction,) = client.post(path, content=content, headers=headers).json()["predictions"]
    assert np.array_equal(np.float32(prediction["image"]), seen)
    explained = ask(client, file_image(content), path="/v1/explain", include=["image", "claims"])
    ExplainResponse.model_validate(explained, strict=True)
    assert np.array_equal(np.float32(explained["explanations"][0]["image"]), seen)
    drawn = ask(client, file_image(content), path="/v1/explain", include=["image"], format="png")
    picture = Image.open(io.BytesIO(base64.b64decode(drawn["explanations"][0]["image"])))
    assert picture.size == (112, 112)


def test_a_row_is_refused_with_boxes_and_split_in_reading_order(client, ten):
    content = on_paper(list(ten[0][[3, 1, 4]]), seed=3)
    refused = client.post("/v1/predict", json={"images": [file_image(content)], "model": MODEL})
    assert refused.status_code == 422
    assert "3 signs were found side by side" in refused.json()["detail"]
    boxes = refused.json()["boxes"]
    assert [box["left"] for box in boxes] == sorted(box["left"] for box in boxes)
    split = ask(client, ten[0][0].tolist(), file_image(content), split=True)
    PredictResponse.model_validate(split, strict=True)
    assert labels_of(split) == [0, 3, 1, 4]
    assert [prediction["source"] for prediction in split["predictions"]] == [0, 1, 1, 1]
    assert [prediction.get("box") for prediction in split["predictions"]] == [None, *boxes]
    path = f"/v1/predict?split=true&model={MODEL}"
    as_body = client.post(path, content=content, headers={"Content-Type": "image/jpeg"}).json()
    assert labels_of(as_body) == [3, 1, 4]


def test_an_explanation_can_be_split_too(client, ten):
    content = on_paper(list(ten[0][[7, 2]]), seed=1)
    path = f"/v1/explain?split=true&include=claims&model={MODEL}"
    answer = client.post(path, content=content, headers={"Content-Type": "image/jpeg"}).json()
    assert [each["label"] for each in answer["explanations"]] == [7, 2]


@pytest.mark.parametrize("value", ["maybe", ""])
def test_a_wrong_value_in_the_query_is_named(client, value):
    answer = client.post(f"/v1/predict?split={value}", json={"images": [[[0.0, 1.0] * 14] * 28]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["split"]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
@pytest.mark.parametrize(
    "image",
    [[[0.0] * 28] * 28, [[1.0] * 28] * 28, [[0.5] * 27 + [0.55]] * 28, file_image(blank_png())],
    ids=["black", "white", "pale", "file"],
)
def test_blank_images_are_refused_whichever_way_they_come(client, path, image, three):
    answer = client.post(path, json={"images": [three, image]})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"loc": ["images", 1], "msg": "the image is blank: nothing stands out from its background"}
    ]


def test_blank_images_are_refused_by_every_protocol(client):
    raw = client.post("/v1/predict", content=blank_png(), headers={"Content-Type": "image/png"})
    assert (raw.status_code, "blank" in raw.json()["detail"]) == (422, True)
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": [7] * 784}
    v2 = client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor]})
    v1 = client.post(f"/v1/models/{MODEL}:predict", json={"instances": [[[0.5] * 28] * 28]})
    for answer in (v1, v2):
        assert (answer.status_code, "blank" in answer.json()["error"]) == (400, True)


def test_transparency_sixteen_bits_and_the_cameras_orientation_come_through(client, ten):
    digit = Image.fromarray((ten[0][8] * 255).astype(np.uint8))
    ink = Image.new("RGBA", (280, 280), (20, 20, 60, 0))
    ink.putalpha(digit.resize((280, 280)))
    deep = Image.fromarray(np.asarray(digit, np.uint16) * 257)
    turned = Image.open(io.BytesIO(photograph(ten[0][8], "pen", 4)))
    exif = Image.Exif()
    exif[0x0112] = 6
    camera = png_of(turned.transpose(Image.Transpose.ROTATE_90), exif=exif)
    answer = ask(client, *map(file_image, (png_of(ink), png_of(deep), camera)))
    assert labels_of(answer) == [8, 8, 8]
    assert answer["predictions"][0]["preprocessed"][0] == "transparent parts white"
    assert answer["predictions"][1]["preprocessed"] == []
    assert answer["predictions"][2]["preprocessed"][0] == "turned upright"
