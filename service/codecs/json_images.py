"""Images that are lists of numbers, straight from JSON into an array.

The schema of a request makes a Python number of each of 784 pixels before one is looked at, a third of what
a prediction costs. Here simdjson fills the array. Whatever is not plainly right is left to the schema,
which alone says what is wrong with a request (docs/decisions/0011).
"""

from functools import lru_cache
from typing import Any

import numpy as np

from service.codecs.preprocessing import SIDE
from service.http.body import SMALL_BODY
from service.inference.engine import Images

try:
    from simdjson import Parser
except ImportError:  # no build for this Python: the schema reads everything
    _PARSER = None
else:
    _PARSER = Parser()

# What numbers and the space between them are made of. JSON without them shows how it is nested.
_NUMBERS = b"0123456789+-.eE \t\n\r"
_ROW = b"[" + b"," * (SIDE - 1) + b"]"
_IMAGE = b"[" + b",".join([_ROW] * SIDE) + b"]"
# The bits of floats from 0 to 1 are whole numbers in the same order; those of others, NaN too, are larger.
_BITS_OF_ONE = int(np.float64(1).view(np.uint64))


def images_alone(body: bytes, most: int) -> Images | None:
    """Returns the images (N, 28, 28), at most `most`, of `{"images": [...]}`, None for any other body.

    A larger body is read in a thread (`off_the_loop`), where others read too, and the parser is not for
    several threads at once. It also keeps room for its largest document.
    """
    if _PARSER is None or len(body) > SMALL_BODY:
        return None
    nesting = body.translate(None, _NUMBERS)
    images = nesting.count(b"[[")
    if not 0 < images <= min(most, len(nesting) // len(_IMAGE)) or nesting != _nesting(images):
        return None
    try:
        document: Any = _PARSER.parse(body)
        bits = np.frombuffer(document["images"].as_buffer(of_type="d"), np.uint64)
    except (ValueError, TypeError, RuntimeError, KeyError):
        return None
    if np.maximum.reduce(bits) > _BITS_OF_ONE:
        return None
    return bits.view(np.float64).astype(np.float32).reshape(-1, SIDE, SIDE)


@lru_cache(maxsize=16)
def _nesting(images: int) -> bytes:
    return b'{"images":[%b]}'.translate(None, _NUMBERS) % b",".join([_IMAGE] * images)
