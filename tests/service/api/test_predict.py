"""POST /v1/predict on a real server."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from service.api.schemas.responses import PredictResponse

LABELS = ("3", "5")


def png_of(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def logits_of(prediction) -> list[float]:
    return [prediction["logits"][label] for label in LABELS]


def ask(client, *images, **rest):
    answer = client.post("/v1/predict", json={"images": list(images), **rest})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_real_digits_are_told_apart(client, digits):
    images, labels = digits
    chosen = np.r_[0:50, 900:950]
    answer = ask(client, *images[chosen].tolist())
    right = [p["label"] == label for p, label in zip(answer["predictions"], labels[chosen], strict=True)]
    assert sum(right) >= 98


def test_answer_follows_its_schema_and_names_the_model(client, package, three):
    answer = PredictResponse.model_validate(ask(client, three), strict=True)
    assert (answer.model.name, answer.model.version) == (package.name, package.version)
    (prediction,) = answer.predictions
    assert prediction.confidence == max(prediction.probabilities.values())
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.preprocessed is None


def test_server_and_torch_give_the_same_logits(client, frozen, images):
    answer = ask(client, *images[:64, 0].tolist())
    served = np.array([logits_of(p) for p in answer["predictions"]])
    assert np.abs(served - frozen(images[:64]).numpy()).max() <= 1e-5


def test_answer_does_not_depend_on_batch_mates(client, digits):
    subject = digits[0][10].tolist()
    extremes = [np.eye(28).tolist(), (1 - np.eye(28)).tolist()]
    alone = logits_of(ask(client, subject)["predictions"][0])
    crowd = ask(client, *digits[0][100:163].tolist(), subject)["predictions"][-1]
    beside = ask(client, *extremes, subject, *extremes)["predictions"][2]
    assert logits_of(crowd) == pytest.approx(alone, abs=1e-5)
    assert logits_of(beside) == pytest.approx(alone, abs=1e-5)


def test_the_most_images_allowed_are_answered_in_order(client, digits):
    images = np.resize(digits[0], (256, 28, 28))
    together = [logits_of(p) for p in ask(client, *images.tolist())["predictions"]]
    assert len(together) == 256
    for index in (0, 100, 255):
        alone = logits_of(ask(client, images[index].tolist())["predictions"][0])
        assert together[index] == pytest.approx(alone, abs=1e-5)


def test_list_base64_and_raw_png_of_one_digit_give_one_answer(client, digits):
    image = (digits[0][5] * 255).round() / 255
    png = png_of(image)
    as_list = ask(client, image.tolist())["predictions"][0]
    as_base64 = ask(client, {"png": base64.b64encode(png).decode()})["predictions"][0]
    raw = client.post("/v1/predict", content=png, headers={"Content-Type": "image/png"}).json()
    assert logits_of(as_base64) == pytest.approx(logits_of(as_list), abs=1e-5)
    assert as_base64["preprocessed"] == []
    assert raw["predictions"] == [as_base64]


def test_lists_and_pngs_may_be_mixed(client, digits, three):
    answer = ask(client, three, {"png": base64.b64encode(png_of(digits[0][900])).decode()})
    assert [p["label"] for p in answer["predictions"]] == [3, 5]


def test_a_large_dark_on_light_colour_png_is_brought_into_mnists_form(client, digits):
    ink = Image.fromarray(((1 - digits[0][0]) * 255).astype(np.uint8)).resize((280, 280))
    paper = Image.new("RGB", (400, 300), "white")
    paper.paste(ink.convert("RGB"), (90, 5))
    buffer = io.BytesIO()
    paper.save(buffer, "PNG")
    prediction = ask(client, {"png": base64.b64encode(buffer.getvalue()).decode()})["predictions"][0]
    assert prediction["label"] == 3
    assert prediction["preprocessed"] == [
        "grey", "inverted", "background removed", "scaled to 20x20", "centred by mass"
    ]  # fmt: skip


def test_a_model_may_be_named(client, three):
    assert ask(client, three, model="mnist-3v5") == ask(client, three)


def test_integers_are_numbers_too(client):
    whole = ask(client, [[0] * 28] * 27 + [[1] * 28])
    assert whole == ask(client, [[0.0] * 28] * 27 + [[1.0] * 28])


def test_every_answer_carries_a_request_id(client, three):
    first, second = (client.post("/v1/predict", json={"images": [three]}) for _ in range(2))
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]
    own = client.post("/v1/predict", json={"images": []}, headers={"X-Request-ID": "abc-1"})
    assert own.headers["X-Request-ID"] == "abc-1"
    assert client.get("/nowhere").headers["X-Request-ID"]
