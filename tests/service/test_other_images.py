"""Models of other images than MNIST's ten digits: every endpoint, both protocols, the command line."""

import base64
import contextlib
import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from running import running_server, sample_digits
from typer.testing import CliRunner

from whitebox.cli import app

# Height and width, the recipe's own changes, and the classes: a folder's name and the digit it holds.
FOURS = ((28, 28), {"4": 4, "9": 9})
CLOTHES = ((16, 12), {"letter": 1, "clothes": 0, "shoe\u00e9": 8})


def write_images(root: Path, size: tuple[int, int], classes: dict[str, int]) -> Path:
    images, labels = sample_digits()
    for name, digit in classes.items():
        (root / name).mkdir(parents=True)
        for index, pixels in enumerate(images[labels == digit][:40]):
            picture = Image.fromarray(pixels.astype(np.uint8)).resize(size[::-1])
            picture.save(root / name / f"{index:02}.png")
    return root


def whitebox(*arguments: str, cwd: Path, code: int = 0) -> str:
    """Runs a command in this process, which has torch already, and returns what it prints."""
    environment = {"WHITEBOX_MODELS_DIR": str(cwd / "models"), "WHITEBOX_DEFAULT_MODEL": "clothes"}
    with contextlib.chdir(cwd):
        finished = CliRunner().invoke(app, arguments, env=environment)
    assert finished.exit_code == code, finished.output
    return finished.output if code else finished.stdout


@pytest.fixture(scope="module")
def place(request, tmp_path_factory) -> Path:
    """Models trained on folders: three words of images that are not square, and, if asked, 4 against 9."""
    place = tmp_path_factory.mktemp("others")
    quick = ("--set", "network.rotations=4", "--set", "network.poses=4", "--set", "batch_size=60")
    four_is_asked = any("[fours" in item.nodeid for item in request.session.items)
    for name, (size, classes) in {"clothes": CLOTHES, **({"fours": FOURS} if four_is_asked else {})}.items():
        write_images(place / name, size, classes)
        whitebox("train", "--data", name, *quick, "--epochs", "2", "--out", f"runs/{name}", cwd=place)
        whitebox("export", f"runs/{name}", "--out", f"models/{name}/1", cwd=place)
    return place


@pytest.fixture(scope="module")
def client(place):
    models = {"WHITEBOX_MODELS_DIR": str(place / "models"), "WHITEBOX_DEFAULT_MODEL": "clothes"}
    with running_server(**models) as (client, _):
        yield client


MODELS = [
    ("clothes", *CLOTHES, ["clothes", "letter", "shoe\u00e9"]),
    pytest.param("fours", *FOURS, [4, 9], marks=pytest.mark.slow),  # its export alone takes 7 s
]
each_model = pytest.mark.parametrize(("name", "size", "classes", "labels"), MODELS)


def file_of(place: Path, name: str, label: object) -> bytes:
    return (place / name / str(label) / "00.png").read_bytes()


def pixels_of(content: bytes) -> list[list[float]]:
    return (np.asarray(Image.open(io.BytesIO(content))) / 255).tolist()


def asked(client: httpx.Client, path: str, **body: object) -> dict:
    answer = client.post(path, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


@each_model
def test_a_file_and_its_pixels_get_one_answer_in_the_package_s_labels(
    client, place, name, size, classes, labels
):
    content = file_of(place, name, labels[0])
    (of_list,) = asked(client, "/v1/predict", model=name, images=[pixels_of(content)])["predictions"]
    encoded = {"image": base64.b64encode(content).decode()}
    (of_file,) = asked(client, "/v1/predict", model=name, images=[encoded])["predictions"]
    raw = client.post(
        "/v1/predict", params={"model": name}, content=content, headers={"Content-Type": "image/png"}
    ).json()["predictions"][0]
    assert of_file["preprocessed"] == []
    assert of_file["logits"] == of_list["logits"] == raw["logits"]
    assert of_list["label"] in labels
    assert list(of_list["probabilities"]) == [str(label) for label in labels]
    assert "typicality" in of_list


@each_model
def test_a_file_of_any_size_is_brought_to_the_model_s(client, place, name, size, classes, labels):
    large = io.BytesIO()
    Image.open(io.BytesIO(file_of(place, name, labels[0]))).convert("RGB").resize((300, 200)).save(
        large, "JPEG"
    )
    body = {"image": base64.b64encode(large.getvalue()).decode()}
    found = asked(client, "/v1/predict", model=name, images=[body])["predictions"][0]
    assert found["preprocessed"][-1] == f"scaled from 200x300 to {size[0]}x{size[1]}"


@each_model
def test_lists_of_another_size_are_refused_with_the_size_that_is_taken(client, name, size, classes, labels):
    for model in ({"model": name}, {"model": name, "version": "1"}):
        wrong = [[0.0] * 19 + [1.0]] * 20
        answer = client.post("/v1/predict", json={**model, "images": [wrong]})
        assert answer.status_code == 422
        told = answer.json()["errors"][0]
        assert told["msg"].startswith(
            f"20 rows of 20 numbers, where the model takes {size[0]} rows of {size[1]}"
        )
    uneven = [[0.0] * 20, *[[1.0] * 19] * 19]
    answer = client.post("/v1/explain", json={"model": name, "images": [uneven]})
    assert "19 numbers; the rows above have 20" in answer.text


@each_model
def test_an_explanation_adds_up_and_its_maps_have_the_model_s_size(
    client, place, name, size, classes, labels
):
    image = pixels_of(file_of(place, name, labels[1]))
    (found,) = asked(client, "/v1/explain", model=name, images=[image])["explanations"]
    assert np.shape(found["two_step"]) == size
    for label in labels:
        total = sum(found["claims"][str(label)]["contributions"])
        assert total == pytest.approx(found["logits"][str(label)], abs=1e-4)
    assert {shape["speaks_for"] for shape in found["shapes"]} == set(labels)


@each_model
def test_attack_and_certify_speak_of_the_package_s_labels(client, place, name, size, classes, labels):
    image = pixels_of(file_of(place, name, labels[0]))
    attacked = asked(
        client, "/v1/attack", model=name, images=[image], labels=[labels[0]], attack="fgsm", epsilon=0.1
    )["results"][0]
    assert np.shape(attacked["image"]) == size
    assert attacked["label"] == labels[0]
    certified = asked(client, "/v1/certify", model=name, images=[image], labels=[labels[1]], epsilon=0.1)
    assert certified["results"][0]["label"] == labels[1]
    assert np.shape(certified["results"][0]["counterexample"]["image"]) == size
    wrong = client.post(
        "/v1/certify", json={"model": name, "images": [image], "labels": ["no"], "epsilon": 0.1}
    )
    assert wrong.status_code == 422


@each_model
def test_the_open_inference_protocol_tells_and_takes_the_model_s_tensors(
    client, place, name, size, classes, labels
):
    metadata = client.get(f"/v2/models/{name}").json()
    assert metadata["inputs"][0]["shape"] == [-1, 1, *size]
    kind = "INT64" if isinstance(labels[0], int) else "BYTES"
    assert {"name": "label", "datatype": kind, "shape": [-1]} in metadata["outputs"]
    pixels = np.asarray(Image.open(io.BytesIO(file_of(place, name, labels[0]))))
    tensor = {"name": "image", "shape": [1, 1, *size], "datatype": "UINT8", "data": pixels.ravel().tolist()}
    infer = f"/v2/models/{name}/infer"
    expected = asked(client, "/v1/predict", model=name, images=[(pixels / 255).tolist()])["predictions"][0]
    (label, bright) = asked(client, infer, inputs=[tensor], outputs=[{"name": "label"}, {"name": "bright"}])[
        "outputs"
    ]
    assert (label["datatype"], label["data"]) == (kind, [expected["label"]])
    assert bright["shape"] == [1, *size]
    wrong = client.post(infer, json={"inputs": [{**tensor, "shape": [1, 1, 9, 9]}]})
    assert f"is not [N, 1, {size[0]}, {size[1]}]" in wrong.text


def test_labels_that_are_text_travel_as_bytes_behind_their_length(client, place):
    pixels = np.asarray(Image.open(io.BytesIO(file_of(place, "clothes", "letter"))))
    tensor = {
        "name": "image",
        "shape": [1, *pixels.shape],
        "datatype": "UINT8",
        "data": pixels.ravel().tolist(),
    }
    body = {"inputs": [tensor], "outputs": [{"name": "label", "parameters": {"binary_data": True}}]}
    answer = client.post("/v2/models/clothes/infer", json=body)
    head = int(answer.headers["Inference-Header-Content-Length"])
    raw = answer.content[head:]
    assert json.loads(answer.content[:head])["outputs"][0]["parameters"] == {"binary_data_size": len(raw)}
    assert int.from_bytes(raw[:4], "little") == len(raw) - 4
    plain = asked(client, "/v2/models/clothes/infer", inputs=[tensor])["outputs"][0]["data"]
    assert [raw[4:].decode()] == plain


@each_model
def test_kserve_v1_takes_the_model_s_images(client, place, name, size, classes, labels):
    image = pixels_of(file_of(place, name, labels[0]))
    (predicted,) = asked(client, f"/v1/models/{name}:predict", instances=[image])["predictions"]
    (explained,) = asked(client, f"/v1/models/{name}:explain", instances=[image])["explanations"]
    assert predicted["label"] in labels
    assert explained["logits"] == pytest.approx(predicted["logits"], abs=1e-4)


@each_model
def test_the_command_line_asks_the_model_too(place, name, size, classes, labels):
    file = str(place / name / str(labels[0]) / "00.png")
    predicted = json.loads(whitebox("predict", file, "--model", name, "--json", cwd=place))
    assert predicted["label"] in labels
    attacked = whitebox(
        *("attack", file, "--model", name, "--attack", "fgsm", "--epsilon", "0.1", "--label", str(labels[0])),
        *("--save", "found.png"),
        cwd=place,
    )
    assert "original:" in attacked
    assert Image.open(place / "found.png").size == size[::-1]


@pytest.mark.slow
def test_a_model_is_judged_on_its_own_data_and_on_no_other(place):
    card = json.loads(
        whitebox("evaluate", "runs/clothes", "--attack", "fgsm", "--epsilon", "0.1", "--json", cwd=place)
    )
    assert card["data"]["source"] == "clothes, test"
    certified = whitebox("certify", "models/clothes/1", "--data", "clothes", "--epsilon", "0.1", cwd=place)
    assert "clothes, test" in certified
    refused = whitebox("certify", "models/clothes/1", "--sample", cwd=place, code=1)
    assert "not on MNIST" in refused


def test_the_manifest_tells_size_labels_and_preprocessing_and_no_path_of_this_machine(client, place):
    manifest = client.get("/v1/models/clothes").json()["manifest"]
    assert manifest["input"] == {"height": 16, "width": 12}
    assert manifest["preprocessing"] == {"name": "resize"}
    assert manifest["training"]["source"]["path"] == "clothes"
    assert str(place) not in json.dumps(manifest)
