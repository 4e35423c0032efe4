"""Explanations of a request's images, in pieces that take turns with those of other requests."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from model.explanation_figure import explanation_figure
from service.codecs.json_images import DecodedImages
from service.codecs.serialization import JSONObject, TracePart, explanations, outputs_of
from service.inference.engine import AT_ONCE, Engine, Images

FIGURE_OUTPUTS = ("logits", "two_step", "bright", "templates", "contributions")


def explained(
    engine: Engine,
    decoded: DecodedImages,
    level: float,
    parts: Sequence[TracePart],
    as_png: bool = False,
) -> Iterator[Callable[[], list[JSONObject]]]:
    """Returns pieces of work, each of which returns the `Explanation`s of some images."""
    for start in range(0, len(decoded.images), AT_ONCE):
        piece = decoded.part(start, start + AT_ONCE)
        yield partial(_explain, engine, piece, level, parts, as_png)


def figure_of(engine: Engine, images: Images) -> str:
    """Returns the composed figure of the explanation of images (1, H, W), as SVG."""
    trace = {name: values[0] for name, values in engine.explain(images, FIGURE_OUTPUTS).items()}
    return explanation_figure(images[0], trace, engine.labels, engine.shapes_per_class)


def _explain(
    engine: Engine, decoded: DecodedImages, level: float, parts: Sequence[TracePart], as_png: bool
) -> list[JSONObject]:
    trace = engine.explain(decoded.images, outputs_of(parts))
    predicted = engine.predict(decoded.images)
    return explanations(engine.labels, trace, predicted, level, decoded, parts, as_png)
