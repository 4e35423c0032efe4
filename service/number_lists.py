"""Images that are lists of numbers, straight from JSON into an array.

The schema of a request makes a Python number of each of 784 pixels before one is looked at, a third of what
a prediction costs. Here simdjson fills the array. Whatever is not plainly right is left to the schema,
which alone says what is wrong with a request (docs/decisions/0011).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.digits import SIDE
from service.engine import Images
from service.intake import SMALL_BODY

try:
    from simdjson import Array, Object, Parser
except ImportError:  # no build for this Python: the schema reads everything
    _PARSER = None
else:
    _PARSER = Parser()


def images_alone(body: bytes, most: int) -> Images | None:
    """Returns the images (N, 28, 28), at most `most`, of `{"images": [...]}`, None for any other body.

    A larger body is read in a thread (`off_the_loop`), where others read too, and the parser is not for
    several threads at once. It also keeps room for its largest document.
    """
    if _PARSER is None or len(body) > SMALL_BODY:
        return None
    try:
        pixels = _pixels(_PARSER.parse(body), most, lists=body.count(b"["))
    except (ValueError, TypeError, RuntimeError):
        return None
    if pixels is None or pixels.min() < 0 or pixels.max() > 1:
        return None
    return pixels.astype(np.float32).reshape(-1, SIDE, SIDE)


def _pixels(document: object, most: int, lists: int) -> NDArray[np.float64] | None:
    """Returns all numbers (N * 28 * 28,); `lists` tells whether a list stands where a number should."""
    if not isinstance(document, Object) or list(document) != ["images"]:
        return None
    images = document["images"]
    if not isinstance(images, Array) or not 0 < len(images) <= most or lists != 1 + len(images) * (1 + SIDE):
        return None
    nested: Any = images
    if not all(len(image) == SIDE and all(len(row) == SIDE for row in image) for image in nested):
        return None
    return np.frombuffer(images.as_buffer(of_type="d"))
