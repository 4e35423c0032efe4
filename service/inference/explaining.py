"""Explanations of a request's images, in pieces that take turns with those of other requests."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from orjson import Fragment

from service.codecs.json_images import DecodedImages
from service.codecs.serialization import TracePart, explanations, outputs_of, to_json
from service.inference.engine import AT_ONCE, Engine


def explained(
    engine: Engine, decoded: DecodedImages, parts: Sequence[TracePart], as_png: bool = False
) -> Iterator[Callable[[], list[Fragment]]]:
    """Returns pieces of work, each of which returns the `Explanation`s of some images, written as JSON."""
    for start in range(0, len(decoded.images), AT_ONCE):
        end = start + AT_ONCE
        piece = DecodedImages(decoded.images[start:end], decoded.preprocessed[start:end])
        yield partial(_explain, engine, piece, parts, as_png)


def _explain(
    engine: Engine, decoded: DecodedImages, parts: Sequence[TracePart], as_png: bool
) -> list[Fragment]:
    trace = engine.explain(decoded.images, outputs_of(parts))
    found = explanations(engine.labels, trace, parts, decoded.preprocessed, as_png)
    return [Fragment(to_json(explanation)) for explanation in found]
