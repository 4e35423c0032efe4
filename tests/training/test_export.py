"""Export: one network in three forms that agree, and results that are measured."""

import io
import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from running import ROOT

from model.frozen import Trace
from model.package import EXPLAIN_GRAPH, PREDICT_GRAPH, PROGRAM, read_package
from training.errors import TrainingError
from training.export import export_from, package_files


def session(content: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


def test_onnx_and_torch_agree_on_real_digits(package, frozen, images):
    graph = session(package.read(PREDICT_GRAPH))
    logits, probabilities = graph.run(["logits", "probabilities"], {"image": images.numpy()})
    expected = frozen(images)
    assert np.abs(logits - expected.numpy()).max() <= 1e-5
    assert np.abs(probabilities - expected.softmax(1).numpy()).max() <= 1e-5


@pytest.mark.full_data
def test_onnx_and_torch_agree_on_all_test_digits(package, frozen, all_test_digits):
    graph = session(package.read(PREDICT_GRAPH))
    for images in all_test_digits.images.split(200):
        (logits,) = graph.run(["logits"], {"image": images.numpy()})
        assert np.abs(logits - frozen(images).numpy()).max() <= 1e-5


def test_explain_graph_holds_the_whole_trace(package, frozen, images):
    graph = session(package.read(EXPLAIN_GRAPH))
    assert tuple(output.name for output in graph.get_outputs()) == Trace.names()
    found = dict(zip(Trace.names(), graph.run(None, {"image": images[:100].numpy()}), strict=True))
    trace = frozen.trace(images[:100])
    for name in Trace.names():
        if name not in ("kernel", "rotation"):  # where responses are equal, winners may tie differently
            assert np.abs(found[name] - getattr(trace, name).numpy()).max() <= 1e-4, name
    kernels = frozen.kernels.flatten(0, 1)[:, None]  # (kernels * rotations, 1, k, k)
    responses = F.conv2d(trace.two_step[:, None], kernels, padding=kernels.shape[-1] // 2)
    winner = torch.from_numpy(found["kernel"] * frozen.kernels.shape[1] + found["rotation"])
    won = responses.gather(1, winner[:, None])[:, 0]
    assert (responses.amax(dim=1) - won).max() <= 1e-5


def test_graphs_take_any_number_of_images(package, images):
    for file in (PREDICT_GRAPH, EXPLAIN_GRAPH):
        graph = session(package.read(file))
        for count in (1, 2, 65):
            assert len(graph.run(["logits"], {"image": images[:count].numpy()})[0]) == count


def test_graphs_name_no_place_of_the_machine_that_wrote_them(package):
    for file in (PREDICT_GRAPH, EXPLAIN_GRAPH):
        content = package.read(file)
        onnx.checker.check_model(onnx.load_from_string(content))
        assert b"site-packages" not in content
        assert b".py" not in content
    assert b"frozen.py" not in package.read(PROGRAM)


def test_torch_program_loads_and_agrees(package, frozen, images):
    program = torch.export.load(io.BytesIO(package.read(PROGRAM))).module()
    for count in (1, 33):
        assert (program(images[:count]) - frozen(images[:count])).abs().max() <= 1e-5


@pytest.mark.slow
def test_exporting_again_gives_graphs_that_agree(network, frozen, images):
    files = package_files(network)
    (logits,) = session(files[PREDICT_GRAPH]).run(["logits"], {"image": images[:20].numpy()})
    assert np.abs(logits - frozen(images[:20]).numpy()).max() <= 1e-5


CARDS = ROOT / "docs" / "results" / "cards"
SHIPPED = sorted(path.parent for path in ROOT.glob("artifacts/*/*/manifest.json"))


@pytest.mark.parametrize("directory", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_packages_tell_what_was_measured_of_them_and_at_which_radius(directory):
    manifest = read_package(directory).manifest
    card = json.loads((CARDS / f"{directory.parent.name}.json").read_text())
    assert manifest.results is not None
    assert manifest.training is not None
    assert manifest.results["clean"] == card["clean"]
    assert manifest.results["worst_case"] == card["worst_case"]
    assert manifest.training["epsilon"] == card["worst_case"]["epsilon"]


@pytest.mark.parametrize(
    ("card", "complaint"),
    [
        (CARDS / "mnist-10.json", "is a card of mnist-10/.*, not of mnist-3v5/.*: evaluate mnist-3v5/"),
        (ROOT / "README.md", "is no card: whitebox evaluate writes one"),
        (ROOT / "nowhere.json", "is no card"),
    ],
)
def test_card_of_something_else_is_refused(card, complaint, tmp_path):
    (package,) = (directory for directory in SHIPPED if directory.parent.name == "mnist-3v5")
    with pytest.raises(TrainingError, match=complaint):
        export_from(package, tmp_path / "mnist-3v5" / "99", card=card)
    assert not list(tmp_path.iterdir())
