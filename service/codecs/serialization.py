"""From arrays to JSON: the one place that writes predictions and explanations.

What it returns are the values of `service.api.schemas`, with numpy arrays where maps are; `to_json` writes
both.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import orjson
from numpy.typing import NDArray

from model.package import Label, ModelPackage
from model.sheet import Sheet
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


def predictions(
    labels: Sequence[Label],
    logits: Array,
    probabilities: Array,
    preprocessed: Sequence[list[str] | None] | None = None,
) -> list[JSONObject]:
    """Returns the `Prediction` of each image.

    Args:
        labels: Of the model's classes.
        logits: (N, classes).
        probabilities: (N, classes).
        preprocessed: For each image the steps that brought a file into the model's form; None for a list.
    """
    keys = [str(label) for label in labels]
    found = [
        {
            "label": labels[best],
            "confidence": shares[best],
            "probabilities": dict(zip(keys, shares, strict=True)),
            "logits": dict(zip(keys, values, strict=True)),
        }
        for best, shares, values in zip(
            logits.argmax(axis=1).tolist(), probabilities.tolist(), logits.tolist(), strict=True
        )
    ]
    if preprocessed is not None:
        for prediction, steps in zip(found, preprocessed, strict=True):
            if steps is not None:
                prediction["preprocessed"] = steps
    return found


def outputs_of(parts: Sequence[TracePart]) -> list[str]:
    """Returns the names of the explain graph's outputs that `explanations` needs for these parts."""
    return ["logits", *dict.fromkeys(name for part in parts for name in _OUTPUTS[part])]


def explanations(
    labels: Sequence[Label],
    trace: Mapping[str, Array],
    parts: Sequence[TracePart],
    preprocessed: Sequence[list[str] | None] | None = None,
    as_png: bool = False,
) -> list[JSONObject]:
    """Returns the `Explanation` of each image.

    Args:
        labels: Of the model's classes.
        trace: The outputs that `outputs_of(parts)` names, each (N, ...), and for the part `image` the images.
        parts: What to tell of the trace.
        preprocessed: As for `predictions`.
        as_png: Whether maps are drawn, as PNG in base64.
    """
    logits = trace["logits"]
    found = predictions(labels, logits, _softmax(logits), preprocessed)
    for index, explanation in enumerate(found):
        of_image = {name: values[index] for name, values in trace.items()}
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


def _softmax(logits: Array) -> Array:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    normalised: Array = shares / shares.sum(axis=1, keepdims=True)
    return normalised


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
