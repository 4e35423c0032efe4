"""The quick way to read a request of nothing but lists of numbers.

The schema of a request makes a Python number of each pixel before one is looked at, a third of what a
prediction costs. `parse_number_lists` lets simdjson fill the array. Whatever is not plainly right is left to
the schema, which alone says what is wrong with a request (docs/decisions/0011).
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.budgets import SMALL_BODY
from service.codecs.preprocessing import BLANK

try:
    from simdjson import Parser
except ImportError:  # no build for this Python: the schema reads everything
    _PARSER = None
else:
    _PARSER = Parser()

Images = NDArray[np.float64]

# What numbers and the space between them are made of. JSON without them shows how it is nested.
_NUMBERS = b"0123456789+-.eE \t\n\r"
_IMAGES, _MODEL, _VERSION = (name.translate(None, _NUMBERS) for name in (b"images", b"model", b"version"))
# An object of images and, before or after them, the strings `model` and `version`, without its numbers.
_STRING = rb'"(?:%b|%b)":"[^"\\\[\]]*"' % (_MODEL, _VERSION)
_OBJECT = re.compile(rb'\{(?:%b,)*"%b":(\[[^"]*\])(?:,%b)*\}' % (_STRING, _IMAGES, _STRING))
# An image with less contrast may be blank, which the schema's way judges exactly.
_CONTRAST = 2 * BLANK


class NumberLists(NamedTuple):
    """A request whose images are all lists of numbers: (N, H, W) in [0, 1]."""

    images: Images
    model: str | None
    version: str | None


def parse_number_lists(body: bytes, max_images: int) -> NumberLists | None:
    """Returns a request of lists of numbers, at most `max_images`, None for any other body."""
    if _PARSER is None:
        return None
    # A larger body is parsed in a thread, and a parser, which also keeps room for its largest document, is
    # not for several threads at once.
    is_small = len(body) <= SMALL_BODY
    parser, form_of = (_PARSER, _small_form) if is_small else (Parser(), _form)
    form = form_of(body.translate(None, _NUMBERS), max_images)
    if form is None:
        return None
    try:
        document: Any = parser.parse(body)
        numbers = np.frombuffer(document["images"].as_buffer(of_type="d"))
        images = numbers.reshape(form.images, form.height * form.width)
        names = {key: document[key] for key in document.keys() if key != "images"}  # noqa: SIM118
    except (ValueError, TypeError, RuntimeError, KeyError):
        return None
    right_names = names.keys() <= {"model", "version"} and len(names) == form.fields - 1  # none of them twice
    if not right_names or not _are_plain(images):
        return None
    pixels = images.reshape(form.images, form.height, form.width)
    return NumberLists(pixels, names.get("model"), names.get("version"))


def _are_plain(images: Images) -> bool:
    """Tells whether images (N, H * W) are within [0, 1] and none of them could be blank; JSON has no NaN."""
    # Each call of numpy costs more than its work: as few as will do. Halves, since with more than 500 numbers
    # it lets go of the interpreter, which wakes the thread of inference in vain (docs/decisions/0011).
    middle = images.shape[1] // 2
    left, right = images[:, : middle + 1], images[:, middle:]  # neither is empty
    lowest = np.minimum(np.minimum.reduce(left, axis=1), np.minimum.reduce(right, axis=1))  # (N,)
    highest = np.maximum(np.maximum.reduce(left, axis=1), np.maximum.reduce(right, axis=1))  # (N,)
    return all(
        low >= 0 and high <= 1 and high - low >= _CONTRAST
        for low, high in zip(lowest.tolist(), highest.tolist(), strict=True)
    )


class _Form(NamedTuple):
    fields: int
    images: int
    height: int
    width: int


def _form(nesting: bytes, max_images: int) -> _Form | None:
    """Returns the form of an object that is `_OBJECT` with whole images of one size, else None."""
    found = _OBJECT.fullmatch(nesting)
    if found is None:
        return None
    images = found[1]
    count, first = images.count(b"[["), images.partition(b"]]")[0]
    height, width = first.count(b"[") - 2, first.partition(b"]")[0].count(b",") + 1
    if not 0 < count <= max_images or height < 1 or images != _nesting(count, height, width):
        return None
    return _Form(nesting.count(b'":'), count, height, width)


# Clients send the same form again and again.
_small_form = lru_cache(maxsize=16)(_form)


@lru_cache(maxsize=16)
def _nesting(images: int, height: int, width: int) -> bytes:
    row = b"[" + b"," * (width - 1) + b"]"
    return b"[%b]" % b",".join([b"[" + b",".join([row] * height) + b"]"] * images)
