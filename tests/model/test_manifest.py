"""The schema of a package's manifest: what is shipped is read, what is hostile is refused cheaply."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import ROOT

from model.manifest import FILES, MOST_BYTES, ManifestError, parse_manifest, to_manifest
from model.package import PackageError, read_package, write_package

SHIPPED = sorted((ROOT / "artifacts").glob("*/*/manifest.json"))
GOOD = json.loads((ROOT / "artifacts/mnist-10-certified/9/manifest.json").read_text())
TYPICALITY = {
    "output": "typicality_score",
    "weights": {"similarity": 20.0, "ink": 0.5},
    "shift": 2.0,
    "prototypes": 10,
    "calibration": [-2.0, -1.5, 3],
}
DELETE = object()


def changed(**changes: object) -> dict[str, object]:
    """Returns a good manifest with values changed: `config__height` is the height in config."""
    manifest = json.loads(json.dumps(GOOD))
    for path, value in changes.items():
        *outer, key = path.split("__")
        target = manifest
        for name in outer:
            target = target[name]
        if value is DELETE:
            del target[key]
        else:
            target[key] = value
    return manifest


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_shipped_manifest_is_read_and_shown_as_it_is_read(path):
    package = read_package(path.parent)
    assert (package.height, package.width) == (28, 28)
    of_digits = not package.name.startswith("fashion")
    assert package.preprocessing.name == ("handwritten-digit" if of_digits else "resize")
    assert package.preprocessing.settings == ({"box": 20} if of_digits else {})
    assert len(package.typicality.calibration) in (1155, 2000)
    assert to_manifest(package.manifest.to_dict()) == package.manifest
    written = json.loads(path.read_bytes())
    shown = package.manifest.to_dict()
    assert [shown[key] for key in ("training", "results", "files", "labels")] == [
        written[key] for key in ("training", "results", "files", "labels")
    ]


def test_a_manifest_of_other_images_says_their_size_labels_preprocessing_and_typicality():
    labels = ["ape", "bee", *range(8)]
    manifest = to_manifest(
        changed(
            labels=labels,
            config__labels=labels,
            config__height=32,
            config__width=24,
            input={"height": 32, "width": 24},
            preprocessing={"name": "resize", "interpolation": "area", "factor": 0.5, "invert": True},
            typicality=TYPICALITY,
        )
    )
    assert (manifest.input.height, manifest.input.width) == (32, 24)
    assert manifest.labels == tuple(labels)
    assert manifest.preprocessing.settings == {"interpolation": "area", "factor": 0.5, "invert": True}
    assert manifest.typicality.calibration == (-2.0, -1.5, 3.0)


def test_an_old_manifest_of_other_images_is_resized():
    manifest = to_manifest(changed(training__data__source="medical scans", preprocessing=DELETE))
    assert manifest.preprocessing.name == "resize"


def nested(levels: int) -> object:
    return json.loads("[" * levels + "]" * levels)


HOSTILE = {
    "files is null": ({"files": None}, "files"),
    "a file without a digest": ({"files__network.pt2": DELETE}, r"network\.pt2"),
    "a file that no package has": ({"files__../../etc/passwd": "0" * 64}, "passwd"),
    "a digest that is none": ({"files__weights.safetensors": "0" * 63}, "weights"),
    "a label of NaN": ({"labels": [float("nan"), *range(1, 10)]}, "not finite"),
    "a label of infinity": ({"labels": [float("inf"), *range(1, 10)]}, "not finite"),
    "a label of true": ({"labels": [True, 0, *range(2, 10)]}, "labels.0"),
    "a label that is a fraction": ({"labels": [0.5, *range(1, 10)]}, "labels.0"),
    "a label twice": ({"labels": [1, "1", *range(2, 10)]}, "each label may stand once"),
    "a label with a line break": ({"labels": ["a\nb", *range(1, 10)]}, "printable"),
    "more labels than classes": ({"labels": [*range(11)]}, "labels"),
    "one label": ({"labels": [0]}, "labels"),
    "101 labels": ({"labels": [*range(101)]}, "labels"),
    "a huge label": ({"labels": [2**60, *range(1, 10)]}, "labels"),
    "images of 7 rows": ({"config__height": 7}, "config.height"),
    "images of 65 columns": ({"config__width": 65}, "config.width"),
    "two sizes": ({"input": {"height": 20, "width": 28}}, "input and config differ"),
    "an even kernel": ({"config__kernel_size": 4}, "odd"),
    "a kernel size of text": ({"config__kernel_size": "3"}, "config.kernel_size"),
    "too many poses": ({"config__poses": 10**6}, "config.poses"),
    "more templates than fit": ({"config__poses": 1024, "config__shapes_per_class": 256}, "templates"),
    "an unknown key": ({"lables": []}, "lables"),
    "an unknown size": ({"config__depth": 3}, "config.depth"),
    "another name": ({"name": "../mnist"}, "name"),
    "a version that is no number": ({"version": "latest"}, "version"),
    "an unknown preprocessing": ({"preprocessing": {"name": "eval"}}, "preprocessing.name"),
    "a setting that is a list": ({"preprocessing": {"name": "resize", "x": []}}, "preprocessing.x"),
    "a calibration that falls": ({"typicality": {**TYPICALITY, "calibration": [2, 1]}}, "ascend"),
    "no calibration": ({"typicality": {**TYPICALITY, "calibration": []}}, "calibration"),
    "training that is text": ({"training": "yes"}, "training"),
    "results too deep": ({"results": {"a": nested(16)}}, "levels deep"),
    "too many values": ({"results": {"a": [0] * 60_000}}, "values"),
    "a long text": ({"results": {"a": "x" * 5000}}, "text"),
    "a long key": ({"results": {"x" * 5000: 1}}, "text"),
    "a huge integer": ({"results": {"a": 10**100}}, "64 bits"),
}


@pytest.mark.parametrize(("changes", "complaint"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_manifest_is_refused_with_its_place(changes, complaint):
    with pytest.raises(ManifestError, match=complaint):
        to_manifest(changed(**changes))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[" * 100_000, "not JSON"),
        (b'{"results":' + b"[" * 500 + b"]" * 500 + b"}", "not JSON"),
        (b'{"labels":[NaN,1]}', "not JSON"),
        (b'{"labels":[1e999,1]}', "not finite"),
        (b'{"labels":["\\ud800",1]}', "not JSON"),
        (b'{"labels":[' + b"9" * 10_000 + b"]}", "not JSON"),
        (b" " * (MOST_BYTES + 1), "larger than"),
        (b"\xff", "not JSON"),
        (b"", "not JSON"),
        (b"null", "not a JSON object"),
    ],
)
def test_bytes_that_are_no_manifest_are_refused(content, complaint):
    with pytest.raises(ManifestError, match=complaint):
        parse_manifest(content)


TEXT = st.text("a0\n\x00é\u202e", max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON), st.sampled_from(sorted(GOOD)))
def test_whatever_stands_in_a_manifest_it_is_read_or_refused_and_can_be_shown(changes, dropped):
    manifest = {key: value for key, value in {**GOOD, **changes}.items() if key != dropped}
    try:
        read = to_manifest(manifest)
    except ManifestError:
        return
    assert to_manifest(json.loads(json.dumps(read.to_dict(), allow_nan=False))) == read


def test_a_manifest_that_is_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(PackageError, match="no regular file"):
        read_package(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").symlink_to("/dev/zero")
    with pytest.raises(PackageError, match="no regular file"):
        read_package(tmp_path)


def test_a_manifest_that_could_not_be_read_is_not_written(tmp_path):
    description = {key: GOOD[key] for key in ("labels", "config", "input")}
    files = dict.fromkeys(FILES, b"")
    with pytest.raises(PackageError, match=r"config\.poses"):
        write_package(tmp_path / "a" / "1", {**description, "config": {**GOOD["config"], "poses": 0}}, files)
    assert not list(tmp_path.iterdir())
    package = write_package(tmp_path / "a" / "1", description, files)
    assert package.preprocessing.name == "resize"
    assert json.loads((tmp_path / "a/1/manifest.json").read_text()) == package.manifest.to_dict()
