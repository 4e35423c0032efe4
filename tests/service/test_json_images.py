"""Lists of numbers read by simdjson: never another answer than the schema's."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.api.schemas.requests import PredictRequest
from service.budgets import SMALL_BODY
from service.codecs import number_lists
from service.codecs.json_images import FileImage, OpenedImages
from service.codecs.number_lists import NumberLists, parse_number_lists
from service.codecs.preprocessing import Resize
from service.settings import Settings

MOST = 16
HALF = [[0.5] * 14 + [0.0] * 14] * 28  # the left one
# What may stand in the place of a pixel, a row, an image or the list of images.
ODD = st.sampled_from(
    [None, True, False, "0.5", "[", "", [], [0.5], {}, {"png": "AA=="}, -0.0, 0, 1, 1e-320, -1e-320,
     1.0000000000000002, 2, 10**20, float("nan"), float("inf"), [0.5] * 28, [0.5] * 27, HALF, "x" * 28]
)  # fmt: skip
PIXEL = st.floats(0, 1, width=64) | st.integers(0, 1)


def by_schema(body: bytes) -> NumberLists | None:
    try:
        asked = PredictRequest.model_validate_json(body)
    except ValidationError:
        return None
    first = asked.images[0]
    form = Resize(28, 28) if isinstance(first, FileImage) else Resize(len(first), len(first[0]))
    opened = OpenedImages(form, asked.images, MOST, Settings())
    return NumberLists(opened.decode().images, asked.model, asked.version)


def assert_read_alike(body: bytes) -> None:
    found, expected = parse_number_lists(body, MOST), by_schema(body)
    np.testing.assert_array_equal(found.images.astype(np.float32), expected.images)
    assert found[1:] == expected[1:]


def test_real_digits_are_read_as_the_schema_reads_them(digits):
    for image in digits[0][:50]:
        body = json.dumps({"images": [image.tolist()]}).encode()
        assert_read_alike(body)


@given(st.data())
def test_what_it_reads_the_schema_reads_too(data):
    images = [[[data.draw(PIXEL)] * 28 for _ in range(28)] for _ in range(data.draw(st.integers(1, 3)))]
    for _ in range(data.draw(st.integers(0, 2))):
        image, row, column = 0, data.draw(st.integers(0, 27)), data.draw(st.integers(0, 27))
        odd = data.draw(ODD)
        match data.draw(st.sampled_from(["pixel", "row", "image", "shorter", "longer"])):
            case "pixel" if isinstance(images[image], list) and isinstance(images[image][row], list):
                images[image][row] = [*images[image][row][:column], odd, *images[image][row][column + 1 :]]
            case "row" if isinstance(images[image], list):
                images[image][row] = odd
            case "image":
                images[image] = odd
                break
            case "shorter":
                images[image] = images[image][:-1]
                break
            case _:
                images.append(odd)
    body = json.dumps({"images": images}).encode()
    if parse_number_lists(body, MOST) is not None:
        assert_read_alike(body)


@given(st.lists(st.lists(st.lists(PIXEL, max_size=3), max_size=3), max_size=3))
def test_no_nesting_breaks_it(images):
    found = parse_number_lists(json.dumps({"images": images}).encode(), MOST)
    assert found is None or found.images.tolist() == images


NAME = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["mnist-10", "1", "", "3e5", '"', "]"]
)


@given(
    model=NAME,
    version=NAME,
    order=st.permutations(["images", "model", "version"]),
    space=st.sampled_from(["", " "]),
)
def test_the_model_may_be_named_in_any_place(model, version, order, space):
    values = {"images": [HALF], "model": model, "version": version}
    body = json.dumps({name: values[name] for name in order}, separators=("," + space, ":" + space)).encode()
    if parse_number_lists(body, MOST) is not None:
        assert_read_alike(body)


@pytest.mark.parametrize("order", [("images", "model"), ("model", "images"), ("version", "images", "model")])
def test_a_named_model_needs_no_schema(order):
    values = {"images": [HALF, HALF], "model": "mnist-10", "version": "1"}
    found = parse_number_lists(json.dumps({name: values[name] for name in order}).encode(), MOST)
    assert found is not None
    assert found.model == "mnist-10"
    assert found.version == ("1" if "version" in order else None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"images": []}',
        b'{"images": 3}',
        b'{"images": {}}',
        b'{"images": [[]]}',
        b'{"images": [[[]]]}',
        b'{"images": [[[1], []]]}',
        json.dumps({"images": [[[0.5] * 28] * 28]}).encode(),
        b'{"images": ["' + b"x" * 28 + b'"]}',
        json.dumps({"images": [HALF], "model": None}).encode(),
        json.dumps({"images": [HALF], "model": ["mnist-3v5"]}).encode(),
        json.dumps({"images": [HALF], "mo-del": "mnist-3v5"}).encode(),
        json.dumps({"images": [HALF], "model": "mnist-3v5"}).encode()[:-1] + b', "model": "mnist-10"}',
        json.dumps({"images": [HALF], "unknown": 1}).encode(),
        json.dumps({"images": [HALF]}).encode()[:-1] + b', "images": [3]}',
        json.dumps({"images": [HALF]}).encode() + b"x",
        json.dumps({"images": [[[[0.5]] * 28] * 28]}).encode(),
        json.dumps({"images": [[[True] * 28] * 28]}).encode(),
        json.dumps({"images": [HALF] * (MOST + 1)}).encode(),
    ],
)
def test_everything_else_is_left_to_the_schema(body):
    assert parse_number_lists(body, MOST) is None


def test_a_body_that_is_read_in_a_thread_is_read_alike(digits):
    assert_read_alike(json.dumps({"images": digits[0][:MOST].tolist()}).encode() + b" " * SMALL_BODY)


def test_images_outlast_the_next_document():
    first = parse_number_lists(json.dumps({"images": [HALF]}).encode(), MOST)
    parse_number_lists(json.dumps({"images": [[[0.25] * 27 + [1]] * 28]}).encode(), MOST)
    assert (first.images[..., :14] == np.float32(0.5)).all()


def test_without_simdjson_everything_is_left_to_the_schema(monkeypatch):
    monkeypatch.setattr(number_lists, "_PARSER", None)
    assert parse_number_lists(json.dumps({"images": [HALF]}).encode(), MOST) is None
