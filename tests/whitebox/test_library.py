"""`import whitebox`: a model in Python, without a server."""

import io
import os
import shutil
import subprocess
import sys
import threading
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from running import ROOT, sample_digits

import whitebox

IMAGES = (sample_digits()[0] / 255).astype(np.float32)
THREE = ROOT / "examples" / "three.png"
PUBLIC = {
    "AttackOutcome", "Certificate", "Explanation", "Model", "Prediction", "Typicality",
    "export", "load", "train",
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return whitebox.load("mnist-10")


@pytest.fixture(scope="module")
def certified():
    return whitebox.load("mnist-10-certified")


def test_the_public_names_are_these_and_all_are_documented():
    assert set(whitebox.__all__) == PUBLIC
    page = (ROOT / "docs" / "library.md").read_text()
    for name in PUBLIC:
        assert getattr(whitebox, name).__doc__
        assert f"`{name}" in page or f"whitebox.{name}(" in page, name


def test_a_prediction_needs_no_torch():
    code = (
        "import sys, whitebox\n"
        f"assert whitebox.load('mnist-10').explain({str(THREE)!r}).prediction.label == 3\n"
        "assert not {'torch', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_it_answers_as_the_service_does(model, client, three):
    ask = {"images": [three], "model": "mnist-10"}
    (served,) = client.post("/v1/predict", json=ask).json()["predictions"]
    photo = client.post(
        "/v1/predict?model=mnist-10", content=_photo(), headers={"Content-Type": "image/jpeg"}
    )
    here = model.predict(three)
    assert here.label == served["label"]
    assert list(here.logits.values()) == pytest.approx(list(served["logits"].values()), abs=1e-5)
    assert here.typicality.p_value == pytest.approx(served["typicality"]["p_value"])
    (of_photo,) = photo.json()["predictions"]
    seen = model.predict(_photo())
    assert (seen.label, list(seen.preprocessed)) == (of_photo["label"], of_photo["preprocessed"])
    assert len(seen.preprocessed) > 1


def _photo() -> bytes:
    """Returns a JPEG of a dark three on light paper."""
    digit = np.asarray(Image.open(THREE).convert("L").resize((140, 140)))
    paper = np.full((480, 640), 220, np.uint8)
    paper[150:290, 260:400] = 220 - (digit * 0.7).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(paper).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_path_its_content_a_pil_image_and_an_array_are_one_image(model):
    image = Image.open(THREE)
    expected = model.predict(THREE)
    assert expected.label == 3
    for same in (str(THREE), THREE.read_bytes(), image, np.asarray(image)):
        assert model.predict(same) == expected
    assert model.predict(np.asarray(image.convert("RGB"))).logits == expected.logits
    floats = np.asarray(image, np.float32)[None, None] / 255
    assert model.predict(floats).logits == expected.logits


def test_many_images_get_the_answers_that_each_gets(model):
    images = IMAGES[::125]
    together = model.predict_all(images)
    assert [each.label for each in together] == [model.predict(image).label for image in images]
    assert model.predict_all([]) == []


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((28, 28)), "blank"),
        (np.eye(20), "preprocess=True"),
        (np.eye(28) * 200, "uint8"),
        (np.eye(28) * np.nan, "uint8"),
        (np.ones((2, 28, 28)), "not float64"),
        (b"GIF89a", "PNG, JPEG or WebP"),
    ],
)
def test_what_is_no_image_is_refused_in_words(model, image, said):
    with pytest.raises(ValueError, match=said):
        model.predict(image)


def test_an_explanation_adds_up_at_every_level_and_draws_itself(model, tmp_path):
    explanation = model.explain(THREE)
    logits = np.array(list(explanation.prediction.logits.values()))
    for part in ("contributions", "attribution_bright", "attribution_two_step"):
        added = getattr(explanation, part).reshape(len(logits), -1).sum(1)
        assert added == pytest.approx(logits, abs=1e-4), part
    assert explanation.sentence.startswith("3, not ")
    assert explanation._repr_svg_().startswith("<svg")
    explanation.save(tmp_path / "explanation.svg")
    assert explanation.sentence in (tmp_path / "explanation.svg").read_text()
    explanation.save(tmp_path / "explanation.png")
    drawn = np.asarray(Image.open(tmp_path / "explanation.png").convert("RGB"))
    with pytest.raises(ValueError, match=r"\.svg or \.png, not as explanation\.gif"):
        explanation.save(tmp_path / "explanation.gif")
    (axes,) = explanation.plot().axes
    assert np.array_equal(axes.images[0].get_array()[..., :3], drawn)  # one drawing, wherever it is shown
    explanation.prediction.plot().savefig(tmp_path / "prediction.png")
    assert "data:image/png" in explanation.prediction._repr_html_()


def test_a_certificate_holds_and_a_counterexample_is_one(certified):
    proof = certified.certify(THREE, 0.1, radius=True)
    assert (proof.verdict, proof.label) == ("certified", 3)
    assert proof.certified_radius >= 0.1
    assert proof.typical_within_epsilon == "always"
    broken = certified.certify(THREE, 0.1, label=8)
    assert broken.verdict == "falsified"
    assert certified.predict(broken.counterexample).label != 8
    with pytest.raises(ValueError, match="not 'three'"):
        certified.certify(THREE, 0.1, label="three")


def test_an_attack_stays_in_its_ball_and_says_what_it_found(model, tmp_path):
    found = next(
        outcome
        for image in IMAGES[::500]
        if (outcome := model.attack(image, "square", epsilon=0.3, steps=300)).success
    )
    assert found.linf <= 0.3 + 1e-6
    change = np.abs(found.adversarial.image - found.original.image).max()
    assert change == pytest.approx(found.linf)
    assert found.adversarial.label != found.original.label
    assert "becomes" in str(found)
    found.plot().savefig(tmp_path / "attack.png")


def test_a_model_answers_from_several_threads(model):
    images = IMAGES[::200]
    expected = [model.predict(image).label for image in images]
    found: list[list] = []
    threads = [
        threading.Thread(target=lambda: found.append([model.predict(image).label for image in images]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@pytest.mark.slow
def test_from_a_folder_of_images_to_a_model(tmp_path):
    rng = np.random.default_rng(0)
    for name, column in (("left", 1), ("right", 9)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(40):
            image = np.zeros((12, 12), np.uint8)
            image[2:10, column : column + 2] = 255
            image = np.maximum(image, rng.integers(0, 60, image.shape, dtype=np.uint8))
            Image.fromarray(image).save(tmp_path / "data" / name / f"{index}.png")
    run = whitebox.train(
        tmp_path / "data", out=tmp_path / "run", epochs=3,
        settings=["network.shapes_per_class=2", "network.poses=4"],
    )  # fmt: skip
    assert len(run.epochs()) == 3
    made = whitebox.export(run, tmp_path / "models" / "sides" / "1")
    assert set(made.labels) == {"left", "right"}
    again = whitebox.load("sides", models_dir=tmp_path / "models")
    picture = tmp_path / "data" / "left" / "0.png"
    assert (
        again.predict(picture)
        == made.predict(picture)
        == whitebox.load(made.package.directory).predict(picture)
    )


@pytest.mark.slow
@pytest.mark.slow
def test_the_wheel_carries_the_models(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path]
    source = tmp_path / "source"  # so that nothing is built into the checkout
    for folder in ("artifacts", "evaluation", "model", "service", "training", "whitebox"):
        shutil.copytree(ROOT / folder, source / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    subprocess.run([*build, source], check=True, timeout=300)
    installed = tmp_path / "installed"
    ZipFile(next(tmp_path.glob("*.whl"))).extractall(installed)
    ask = f"import whitebox; print(whitebox.__file__, whitebox.load('mnist-10').predict({str(THREE)!r}))"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith(str(installed))
    assert "3 with confidence 0.99" in done.stdout
