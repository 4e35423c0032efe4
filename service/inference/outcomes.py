"""What workers found of images, with what the served model itself says of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.conformal import TypicalWithin, typical_between
from model.package import Label
from service.codecs.serialization import JSONObject, exact, predictions
from service.inference.labelled_images import LabelledImages


def attack_outcomes(labelled: LabelledImages, results: Sequence[Mapping[str, Any]]) -> list[JSONObject]:
    """Returns the `AttackOutcome` of each image from the results of workers."""
    images = np.array([result["image"] for result in results], np.float32)  # (N, H, W)
    engine = labelled.engine
    adversarial = predictions(engine.labels, engine.predict(images), labelled.level)
    found = zip(results, images, labelled.labels, labelled.predictions, adversarial, strict=True)
    return [
        {**result, "image": exact(image), "label": label, "original": before, "adversarial": after}
        for result, image, label, before, after in found
    ]


def certify_outcomes(labelled: LabelledImages, assessments: Sequence[Mapping[str, Any]]) -> list[JSONObject]:
    """Returns the `CertifyOutcome` of each image from the assessments of a worker."""
    found = zip(labelled.labels, labelled.predictions, assessments, strict=True)
    return [_certified(labelled, *each) for each in found]


def _certified(
    labelled: LabelledImages, label: Label, prediction: Mapping[str, Any], assessment: Mapping[str, Any]
) -> JSONObject:
    typical = prediction.get("typicality", {}).get("typical")
    told = {**_with_prediction(labelled, assessment)}
    if (scores := told.pop("typicality_scores", None)) is not None:
        told["typical_within_epsilon"] = _typical_within_epsilon(labelled, *scores)
    return {"label": label, "prediction": prediction, "typical": typical, **told}


def _typical_within_epsilon(labelled: LabelledImages, lowest: float, highest: float) -> TypicalWithin:
    known = labelled.engine.package.typicality
    assert known is not None  # the worker bounded its score
    return typical_between(lowest, highest, known, labelled.level)


def _with_prediction(labelled: LabelledImages, assessment: Mapping[str, Any]) -> Mapping[str, Any]:
    if (counterexample := assessment.get("counterexample")) is None:
        return assessment
    image = np.array(counterexample["image"], np.float32)[None]
    engine = labelled.engine
    (prediction,) = predictions(engine.labels, engine.predict(image), labelled.level)
    shown = {**counterexample, "image": exact(image[0]), "prediction": prediction}
    return {**assessment, "counterexample": shown}
