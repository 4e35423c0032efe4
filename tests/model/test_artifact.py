"""Model packages: whole, verified, never changed."""

import json
import shutil

import pytest

from model.network import WhiteBoxNetwork
from model.package import FILES, PackageError, read_package, write_package


@pytest.fixture
def copy(package, tmp_path):
    directory = tmp_path / "mnist-3v5" / "1"
    shutil.copytree(package.directory, directory)
    return directory


def test_shipped_package_matches_its_digests(package):
    for name in FILES:
        assert len(package.read(name)) > 0


def test_shipped_package_says_how_it_was_trained_and_measured(package):
    manifest = package.manifest
    assert manifest.training["recipe"]["name"] == "paper"
    assert manifest.training["data"]["count"] == 10397
    assert isinstance(manifest.training["seed"], int)
    assert manifest.results["data"]["count"] == 1902
    assert manifest.results["attacks"][1]["settings"]["steps"] == 40


def test_a_manifest_from_before_the_renaming_is_read_under_todays_names(copy):
    path = copy / "manifest.json"
    written = json.loads(path.read_text())
    written["learnable_numbers"] = written.pop("num_parameters")
    path.write_text(json.dumps(written))
    manifest = read_package(copy).manifest
    assert manifest.num_parameters == 4810
    assert "learnable_numbers" not in manifest.to_dict()


@pytest.mark.parametrize("file", FILES)
def test_a_changed_file_is_refused_by_name(copy, file):
    path = copy / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(PackageError, match=file):
        read_package(copy).read(file)


def test_changed_weights_never_become_a_network(copy):
    (copy / "weights.safetensors").write_bytes(b"garbage")
    with pytest.raises(PackageError, match="SHA-256"):
        WhiteBoxNetwork.from_package(read_package(copy))


def test_a_missing_file_is_named(copy):
    (copy / "explain.onnx").unlink()
    with pytest.raises(PackageError, match=r"explain\.onnx"):
        read_package(copy).read("explain.onnx")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "not JSON"), ("{}", "lacks name"), ("[]", "not a JSON object")],
)
def test_a_broken_manifest_is_refused(copy, content, complaint):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(PackageError, match=complaint):
        read_package(copy)


def test_a_manifest_without_a_files_digest_is_refused(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"]["predict.onnx"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=r"no digest for predict\.onnx"):
        read_package(copy)


def test_a_written_version_is_never_overwritten(copy):
    with pytest.raises(PackageError, match="exists already"):
        write_package(copy, {}, {})


def test_a_package_path_ends_in_name_and_number(tmp_path):
    with pytest.raises(PackageError, match="NAME/VERSION"):
        write_package(tmp_path / "mnist" / "latest", {}, {})
