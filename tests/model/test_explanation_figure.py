"""The composed figure of an explanation: its numbers are the computation's, and they add up."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from running import ROOT, sample_digits

from model.explanation_figure import explanation_figure, explanation_sentence
from model.package import read_package
from model.package_directory import newest_package
from service.inference.engine import Engine

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module", params=["mnist-3v5/6", "mnist-10/5"])
def engine(request) -> Engine:
    return Engine(read_package(ROOT / "artifacts" / request.param))


def explained(engine: Engine, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    images, labels = sample_digits()
    image = (images[np.isin(labels, engine.labels)][index] / 255).astype(np.float32).reshape(28, 28)
    return image, {name: values[0] for name, values in engine.explain(image[None]).items()}


def texts(figure: str) -> list[str]:
    return [text.text for text in ElementTree.fromstring(figure).iter(f"{SVG}text")]


def number(text: str) -> float:
    return float(re.search(r"[+-][\d.]+$", text.replace("\N{MINUS SIGN}", "-"))[0])


@pytest.mark.parametrize("index", [0, 7, 300, 900])
def test_bars_add_up_to_the_logits_of_the_two_best_classes(engine, index):
    image, trace = explained(engine, index)
    found = texts(explanation_figure(image, trace, engine.labels, engine.shapes_per_class))
    starts = [n for n, text in enumerate(found) if text.startswith("what adds up")]
    best = np.argsort(trace["logits"])[::-1][:2]
    assert len(starts) == 2
    for start, label in zip(starts, best, strict=True):
        end = next(n for n in range(start, len(found)) if found[n].startswith("sum = logit of"))
        values = [number(text) for text in found[start + 2 : end : 2]]
        assert found[end].startswith(f"sum = logit of {engine.labels[label]}:")
        assert number(found[end]) == pytest.approx(trace["logits"][label], abs=1e-3)
        assert sum(values) == pytest.approx(trace["logits"][label], abs=1e-3 * len(values))


def test_its_title_is_the_sentence_and_names_answer_and_runner_up(engine):
    image, trace = explained(engine, 0)
    figure = explanation_figure(image, trace, engine.labels, engine.shapes_per_class)
    sentence = explanation_sentence(trace, engine.labels)
    first, second = (engine.labels[index] for index in np.argsort(trace["logits"])[::-1][:2])
    assert ElementTree.fromstring(figure).find(f"{SVG}title").text == sentence
    assert sentence.startswith(f"{first}, not {second}:")


def test_it_loads_nothing_from_elsewhere_and_escapes_labels(engine):
    image, trace = explained(engine, 0)
    labels = [f"<b>&{label}" for label in engine.labels]
    figure = explanation_figure(image, trace, labels, engine.shapes_per_class)
    assert "href" not in figure
    assert "<b>" not in figure
    assert any("<b>&" in text for text in texts(figure))


def test_the_shape_that_is_named_adds_most_even_where_own_shapes_are_silent():
    engine = Engine(newest_package(ROOT / "artifacts", "mnist-10-certified"))
    for index in (0, 7, 300, 900):
        _, trace = explained(engine, index)
        named = re.findall(r"shape (\d+) adds (\S+)", explanation_sentence(trace, engine.labels))
        for (shape, adds), label in zip(named, np.argsort(trace["logits"])[::-1][:2], strict=True):
            most = trace["contributions"][label].max()
            assert trace["contributions"][label, int(shape)] == most
            assert number(adds) == pytest.approx(most, abs=0.005)
