"""The service as a process: light, ready, documented, gone when told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from photos import MNIST_FORM
from PIL import Image
from running import PACKAGE, ROOT

from model.package_directory import newest_package
from service.api.schemas.responses import ModelDetails, ModelList
from service.app import create_app
from service.codecs.preprocessing import NotADigitError, read_image_file
from service.settings import SHIPPED_MODELS, Settings


def resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
def test_serving_process_never_imports_torch(three):
    script = f"""
import asyncio, sys, httpx
from service.app import create_app
from service.settings import Settings

async def main():
    app = create_app(Settings(attack_workers=1, certify_workers=0))
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://[::1]") as client:
            image = {three}
            for path in ("/v1/predict", "/v1/explain"):
                assert (await client.post(path, json={{"images": [image]}})).status_code == 200
            attack = {{"images": [image], "attack": "fgsm", "epsilon": 0.1}}
            assert (await client.post("/v1/attack", json=attack, timeout=120)).status_code == 200
            assert (await client.get("/openapi.json")).status_code == 200

import whitebox.cli
asyncio.run(main())
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_serving_process_stays_small_with_all_shipped_models(server, digits):
    client, process = server
    images = digits[0][:256].tolist()
    for _ in range(3):
        assert client.post("/v1/predict", json={"images": images}).status_code == 200
        assert client.post("/v1/explain", json={"images": images[:64]}).status_code == 200
    for _ in range(300):
        client.post("/v1/predict", json={"images": images[:1]})
    assert resident_megabytes(process.pid) < 500


def test_importing_the_application_loads_no_model():
    create_app(Settings(models_dir=Path("/nowhere")))


def test_models_are_listed_with_manifests(client, package):
    listed = ModelList.model_validate_json(client.get("/v1/models").content)
    assert listed.default == "mnist-3v5"
    assert {model.name for model in listed.models} == {path.name for path in SHIPPED_MODELS.iterdir()}
    assert package.digest in [model.digest for model in listed.models]
    details = ModelDetails.model_validate_json(client.get("/v1/models/mnist-3v5").content)
    assert details.labels == [3, 5]
    assert details.manifest == package.manifest.to_dict()


def test_live_and_ready(client):
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200


def test_a_damaged_package_stops_the_start_with_one_clear_line(tmp_path):
    broken = tmp_path / "mnist-3v5" / "1"
    broken.mkdir(parents=True)
    for file in PACKAGE.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "predict.onnx").write_bytes(b"garbage")
    ended = subprocess.run(
        [Path(sys.executable).with_name("whitebox"), "serve", "--port", "0"],
        env={**os.environ, "WHITEBOX_MODELS_DIR": str(tmp_path), "WHITEBOX_DEFAULT_MODEL": "mnist-3v5"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "predict.onnx does not match the SHA-256" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_newest_version_of_a_model_is_served(tmp_path):
    for version in ("2", "10"):
        directory = tmp_path / "mnist-3v5" / version
        directory.mkdir(parents=True)
        (directory / "manifest.json").write_bytes((PACKAGE / "manifest.json").read_bytes())
    package = newest_package(tmp_path, "mnist-3v5")
    assert package.directory.name == "10"


def test_every_setting_is_documented():
    documented = (ROOT / "docs" / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`WHITEBOX_{name.upper()}`" in documented
        assert field.description


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_any_mode_of_png_can_be_read(tmp_path, mode):
    with Image.open(ROOT / "examples" / "three.png") as image:
        large = image.resize((84, 84))
    converted = large.convert("I").point(lambda v: v * 257) if mode == "I;16" else large.convert(mode)
    converted.convert(mode).save(tmp_path / "three.png")
    picture = read_image_file((tmp_path / "three.png").read_bytes(), 10**6)
    pixels, steps, _ = MNIST_FORM.one(picture)
    assert pixels.shape == (28, 28)
    assert 0 <= pixels.min() <= pixels.max() <= 1
    assert "scaled to 20x20" in steps
    assert pixels[12:18, 8:20].max() > 0.5


def test_a_blank_picture_is_no_digit(tmp_path):
    Image.new("RGB", (50, 50), "white").save(tmp_path / "blank.png")
    with pytest.raises(NotADigitError, match="blank"):
        MNIST_FORM.one(read_image_file((tmp_path / "blank.png").read_bytes(), 10**6))
