"""Images with their labels: what is attacked, and what is certified."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.package import Label
from service.codecs.json_images import DecodedImages
from service.codecs.serialization import predictions
from service.errors import invalid_at
from service.inference.engine import Engine, Images


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels, and what the model says of them.

    Attributes:
        engine: The model that is asked.
        images: (N, H, W) float32 in [0, 1].
        labels: The true labels as given, or else as predicted.
        predictions: The `Prediction` of each image.
        level: An image whose p-value is at most this is called untypical.
    """

    engine: Engine
    images: Images
    labels: Sequence[Label]
    predictions: Sequence[dict[str, Any]]
    level: float


def label_images(
    engine: Engine, decoded: DecodedImages, labels: Sequence[Label] | None, level: float
) -> LabelledImages:
    """Puts images through a model, and labels those that come without labels as it does.

    Raises:
        InvalidInput: The labels are not the model's, or not one an image.
    """
    if labels is not None:
        _check(labels, engine.labels, len(decoded.images))
    found = predictions(engine.labels, engine.predict(decoded.images), level, decoded)
    if labels is None:
        labels = [prediction["label"] for prediction in found]
    return LabelledImages(engine, decoded.images, labels, found, level)


def _check(labels: Sequence[Label], known: Sequence[Label], images: int) -> None:
    if len(labels) != images:
        raise invalid_at(["labels"], f"{len(labels)} labels for {images} images")
    for index, label in enumerate(labels):
        if label not in known:
            raise invalid_at(["labels", index], f"the model tells {known} apart, not {label}")
