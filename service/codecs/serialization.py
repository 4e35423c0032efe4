"""From arrays to the JSON values of `service.api.schemas`: predictions and explanations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from service.api.schemas import Part
from service.codecs.rendering import grey_png, signed_png
from service.inference.engine import Array, Engine, Images

# What each part of an answer needs of the trace.
_OUTPUTS: dict[Part, tuple[str, ...]] = {
    "two_step": ("two_step",),
    "bright": ("bright", "kernel", "rotation"),
    "shapes": ("shapes", "pose", "templates"),
    "claims": ("claim_pose", "contributions"),
    "attribution": ("attribution_bright", "attribution_two_step"),
    "gradient": ("gradient",),
}
Draw = Callable[[Any], Any]


def model_ref(engine: Engine) -> dict[str, str]:
    """Returns which model answers."""
    return {"name": engine.package.name, "version": engine.package.version}


def predictions(engine: Engine, images: Images) -> list[dict[str, Any]]:
    """Returns the `Prediction` of each image (N, 28, 28)."""
    return labelled(engine, *engine.predict(images))


def explanations(
    engine: Engine, images: Images, parts: Sequence[Part], pictures: bool
) -> list[dict[str, Any]]:
    """Returns the `Explanation` of each image (N, 28, 28), maps as arrays or as PNG."""
    outputs = ["logits", *dict.fromkeys(name for part in parts for name in _OUTPUTS[part])]
    trace = engine.explain(images, outputs)
    logits = trace["logits"]
    answers = labelled(engine, logits, _softmax(logits))
    for index, answer in enumerate(answers):
        one = {name: values[index] for name, values in trace.items()}
        for part in parts:
            answer[part] = _PARTS[part](engine, one, pictures)
    return answers


def labelled(engine: Engine, logits: Array, probabilities: Array) -> list[dict[str, Any]]:
    """Returns the `Prediction` of each image from its logits and probabilities (N, classes)."""
    labels = engine.labels
    keys = [str(label) for label in labels]
    return [
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


def _softmax(logits: Array) -> Array:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    normalised: Array = shares / shares.sum(axis=1, keepdims=True)
    return normalised


def _two_step(engine: Engine, trace: dict[str, Array], pictures: bool) -> Any:
    return signed_png(trace["two_step"]) if pictures else trace["two_step"]


def _bright(engine: Engine, trace: dict[str, Array], pictures: bool) -> Any:
    values = grey_png(trace["bright"]) if pictures else trace["bright"]
    return {"values": values, "kernel": trace["kernel"], "rotation": trace["rotation"]}


def _shapes(engine: Engine, trace: dict[str, Array], pictures: bool) -> Any:
    own = engine.shapes_per_class
    return [
        {
            "speaks_for": engine.labels[index // own],
            "activation": activation,
            "pose": pose,
            "template": signed_png(template) if pictures else template,
        }
        for index, (activation, pose, template) in enumerate(
            zip(trace["shapes"].tolist(), trace["pose"].tolist(), trace["templates"], strict=True)
        )
    ]


def _claims(engine: Engine, trace: dict[str, Array], pictures: bool) -> Any:
    own = engine.shapes_per_class
    return {
        str(label): {"shape": index * own + pose, "contributions": contributions}
        for index, (label, pose, contributions) in enumerate(
            zip(
                engine.labels,
                trace["claim_pose"].tolist(),
                (trace["contributions"] + 0.0).tolist(),  # no "-0.0" for a silent shape
                strict=True,
            )
        )
    }


def _attribution(engine: Engine, trace: dict[str, Array], pictures: bool) -> Any:
    draw: Draw = signed_png if pictures else lambda values: values
    return {
        str(label): {"bright": draw(bright), "two_step": draw(two_step)}
        for label, bright, two_step in zip(
            engine.labels, trace["attribution_bright"], trace["attribution_two_step"], strict=True
        )
    }


def _gradient(engine: Engine, trace: dict[str, Array], pictures: bool) -> Any:
    draw: Draw = signed_png if pictures else lambda values: values
    return {str(label): draw(g) for label, g in zip(engine.labels, trace["gradient"], strict=True)}


_PARTS: dict[Part, Callable[[Engine, dict[str, Array], bool], Any]] = {
    "two_step": _two_step,
    "bright": _bright,
    "shapes": _shapes,
    "claims": _claims,
    "attribution": _attribution,
    "gradient": _gradient,
}
