"""From arrays to JSON: the one place that writes predictions and explanations.

What it returns are the values of `service.api.schemas.responses`, with numpy arrays where maps are;
`to_json` writes both.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import orjson
from numpy.typing import NDArray

from model.package import Label, ModelPackage
from model.sheet import Sheet
from service.codecs.json_images import DecodedImages
from service.codecs.rendering import grey_png, signed_png

Array = NDArray[Any]

JSONObject = dict[str, Any]

TracePart = Literal["image", "two_step", "bright", "shapes", "claims", "attribution", "gradient"]
TRACE_PARTS: tuple[TracePart, ...] = get_args(TracePart)

# The outputs of the explain graph that each part is made of.
_OUTPUTS: Mapping[TracePart, tuple[str, ...]] = {
    "image": (),  # the graph's input
    "two_step": ("two_step",),
    "bright": ("bright", "kernel", "rotation"),
    "shapes": ("shapes", "pose", "templates"),
    "claims": ("claim_pose", "contributions"),
    "attribution": ("attribution_bright", "attribution_two_step"),
    "gradient": ("gradient",),
}


def to_json(content: Any) -> bytes:
    """Writes plain values and numpy arrays as JSON."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def model_ref(package: ModelPackage) -> JSONObject:
    """Returns which model answers."""
    return {"name": package.name, "version": package.version}


class Predicted(NamedTuple):
    """What a model says of N images.

    Attributes:
        logits: (N, classes).
        probabilities: (N, classes).
        p_values: (N,), of the typicality; NaN where the package has none.
    """

    logits: Array
    probabilities: Array
    p_values: Array


def predictions(
    labels: Sequence[Label],
    predicted: Predicted,
    level: float,
    decoded: DecodedImages | None = None,
    show_images: bool = False,
) -> list[JSONObject]:
    """Returns the `Prediction` of each image.

    Args:
        labels: Of the model's classes.
        predicted: What it says of them.
        level: An image whose p-value is at most this is called untypical.
        decoded: The images, and how files became images; None where there were none.
        show_images: Whether to answer with the images, as the network saw them.
    """
    keys = [str(label) for label in labels]
    found: list[JSONObject] = []
    logits, probabilities, p_values = (values.tolist() for values in predicted)
    for scores, shares, p_value in zip(logits, probabilities, p_values, strict=True):
        best = scores.index(max(scores))  # numpy's argmax lets go of the interpreter (docs/decisions/0011)
        prediction = {
            "label": labels[best],
            "confidence": shares[best],
            "probabilities": dict(zip(keys, shares, strict=True)),
            "logits": dict(zip(keys, scores, strict=True)),
        }
        if not isnan(p_value):
            prediction["typicality"] = {"p_value": p_value, "typical": p_value > level}
        found.append(prediction)
    if decoded is not None:
        _tell_preprocessing(found, decoded, show_images)
    return found


def _tell_preprocessing(found: list[JSONObject], decoded: DecodedImages, show_images: bool) -> None:
    for index, (prediction, prepared) in enumerate(zip(found, decoded.prepared, strict=True)):
        if prepared is not None:
            prediction["preprocessed"] = prepared.steps
            if prepared.box is not None:
                prediction["box"] = prepared.box._asdict()
        if decoded.sources is not None:
            prediction["source"] = decoded.sources[index]
        if show_images:
            prediction["image"] = exact(decoded.images[index])


def outputs_of(parts: Sequence[TracePart]) -> list[str]:
    """Returns the names of the explain graph's outputs that `explanations` needs for these parts."""
    return ["logits", *dict.fromkeys(name for part in parts for name in _OUTPUTS[part])]


def explanations(
    labels: Sequence[Label],
    trace: Mapping[str, Array],
    predicted: Predicted,
    level: float,
    decoded: DecodedImages,
    parts: Sequence[TracePart],
    as_png: bool = False,
) -> list[JSONObject]:
    """Returns the `Explanation` of each image.

    Args:
        labels: Of the model's classes.
        trace: The outputs that `outputs_of(parts)` names, each (N, ...).
        predicted: What the model says of the images.
        level: As for `predictions`.
        decoded: The images.
        parts: What to tell.
        as_png: Whether maps are drawn, as PNG in base64.
    """
    found = predictions(labels, predicted, level, decoded)
    for index, explanation in enumerate(found):
        of_image = {name: values[index] for name, values in trace.items()}
        of_image["image"] = decoded.images[index]
        for part in parts:
            explanation[part] = _WRITERS[part](labels, of_image, as_png)
    return found


def sheet(labels: Sequence[Label], found: Sheet) -> JSONObject:
    """Returns the sheet of a model with these labels, shapes with the label that each speaks for."""
    per_class = len(found.shapes) // len(labels)
    return {
        "two_step": found.two_step,
        "kernels": found.kernels,
        "shapes": [
            {"speaks_for": labels[index // per_class], "base": base}
            for index, base in enumerate(found.shapes)
        ],
        "rows": {str(label): row for label, row in zip(labels, found.rows, strict=True)},
    }


def exact(image: Array) -> Array:
    """Returns an image as float64, whose text is exact: read back, it lies within the same bounds."""
    return image.astype(np.float64)


def _signed(values: Array, as_png: bool) -> Array | str:
    return signed_png(values) if as_png else values


def _image(_: Sequence[Label], trace: Mapping[str, Array], as_png: bool) -> Array | str:
    return grey_png(trace["image"]) if as_png else exact(trace["image"])


def _two_step(_: Sequence[Label], trace: Mapping[str, Array], as_png: bool) -> Array | str:
    return _signed(trace["two_step"], as_png)


def _bright(_: Sequence[Label], trace: Mapping[str, Array], as_png: bool) -> JSONObject:
    values = grey_png(trace["bright"]) if as_png else trace["bright"]
    return {"values": values, "kernel": trace["kernel"], "rotation": trace["rotation"]}


def _shapes(labels: Sequence[Label], trace: Mapping[str, Array], as_png: bool) -> list[JSONObject]:
    per_class = len(trace["shapes"]) // len(labels)
    found = zip(trace["shapes"].tolist(), trace["pose"].tolist(), trace["templates"], strict=True)
    return [
        {
            "speaks_for": labels[index // per_class],
            "activation": activation,
            "pose": pose,
            "template": _signed(template, as_png),
        }
        for index, (activation, pose, template) in enumerate(found)
    ]


def _claims(labels: Sequence[Label], trace: Mapping[str, Array], _: bool) -> JSONObject:
    contributions = trace["contributions"] + 0.0  # (classes, shapes); no "-0.0" for a silent shape
    per_class = contributions.shape[1] // len(labels)
    found = zip(labels, trace["claim_pose"].tolist(), contributions.tolist(), strict=True)
    return {
        str(label): {"shape": index * per_class + own, "contributions": each}
        for index, (label, own, each) in enumerate(found)
    }


def _attribution(labels: Sequence[Label], trace: Mapping[str, Array], as_png: bool) -> JSONObject:
    found = zip(labels, trace["attribution_bright"], trace["attribution_two_step"], strict=True)
    return {
        str(label): {"bright": _signed(bright, as_png), "two_step": _signed(two_step, as_png)}
        for label, bright, two_step in found
    }


def _gradient(labels: Sequence[Label], trace: Mapping[str, Array], as_png: bool) -> JSONObject:
    return {str(label): _signed(each, as_png) for label, each in zip(labels, trace["gradient"], strict=True)}


_WRITERS: Mapping[TracePart, Callable[[Sequence[Label], Mapping[str, Array], bool], Any]] = {
    "image": _image,
    "two_step": _two_step,
    "bright": _bright,
    "shapes": _shapes,
    "claims": _claims,
    "attribution": _attribution,
    "gradient": _gradient,
}
