"""A model that is loaded here answers, in the form in which the service does."""

import asyncio
import time
from typing import Any

from model.attacks.settings import AttackSettings
from model.package import Label
from model.package_directory import newest_package
from service.codecs.json_images import DecodedImages
from service.codecs.preprocessing import read_image_file
from service.codecs.serialization import JSONObject, TracePart, explanations, outputs_of, predictions
from service.inference.engine import Engine
from service.inference.explaining import figure_of
from service.inference.labelled_images import LabelledImages, label_images
from service.inference.outcomes import attack_outcomes, certify_outcomes
from service.settings import load_settings
from service.workers.messages import attack_message, certify_message
from service.workers.pool import WorkerPool
from whitebox.asking.answer import Answer, AskedAttack, Pixels, known_label

JSON_PARTS: tuple[TracePart, ...] = ("shapes", "claims")
PICTURE_PARTS: tuple[TracePart, ...] = ("image", "two_step", "claims")

_POLL_SECONDS = 0.02


class LocalModel:
    """Answers with a package on this machine; attacks and certificates run in a process of their own.

    Args:
        model: Its name; None for the settings' default.

    Raises:
        SettingsError: A setting is wrong.
        PackageError: There is no such package, or it is damaged.
    """

    def __init__(self, model: str | None) -> None:
        self._settings = load_settings(for_serving=False)
        self._engine = Engine(
            newest_package(self._settings.models_dir, model or self._settings.default_model)
        )

    def predict(self, file: bytes, picture: bool) -> Answer:
        """Says what an image shows."""
        decoded = self._decoded(file)
        item = self._prediction(decoded, decoded if picture else None)
        return Answer(item, item)

    def seen(self, file: bytes) -> Pixels:
        """Returns what the network sees of an image file."""
        image: Pixels = self._decoded(file).images[0]
        return image

    def explain(self, file: bytes, picture: bool) -> Answer:
        """Says why."""
        decoded = self._decoded(file)
        parts = PICTURE_PARTS if picture else JSON_PARTS
        trace = self._engine.explain(decoded.images, outputs_of(parts))
        predicted, level = self._engine.predict(decoded.images), self._settings.typicality_level
        (item,) = explanations(self._engine.labels, trace, predicted, level, decoded, parts)
        return Answer(item, item)

    def figure(self, file: bytes) -> str:
        """Returns the composed figure of the explanation."""
        return figure_of(self._engine, self._decoded(file).images)

    def attack(self, file: bytes, label: str | None, wanted: AskedAttack) -> Answer:
        """Attacks an image."""
        settings = AttackSettings(wanted.attack, wanted.norm, wanted.epsilon, seed=wanted.seed)
        labelled = self._labelled(file, label)
        queries = self._settings.max_attack_queries
        message = attack_message(self._engine, labelled.images[0], labelled.labels[0], settings, queries)
        found = asyncio.run(_work("attacks", message, self._settings.attack_timeout_seconds))
        (item,) = attack_outcomes(labelled, [found])
        told = {key: value for key, value in item.items() if key not in ("image", "label")}
        return Answer(item, told)

    def epsilon(self) -> float:
        """Returns the radius of the L-inf ball that the model is judged at."""
        from training.data import epsilon_of

        return epsilon_of(self._engine.package.manifest.training or {})

    def certify(self, file: bytes, label: str | None, epsilon: float) -> Answer:
        """Certifies an image."""
        labelled = self._labelled(file, label)
        labels = list(labelled.labels)
        message = certify_message(self._engine, labelled.images, labels, epsilon, True, True)
        found = asyncio.run(_work("certificates", message, self._settings.certify_timeout_seconds))
        (item,) = certify_outcomes(labelled, found["assessments"])
        return Answer(item, item)

    def _decoded(self, file: bytes) -> DecodedImages:
        form = self._engine.preprocessing
        picture = read_image_file(file, self._settings.max_png_pixels, form.working_side)
        prepared = form.one(picture)
        return DecodedImages(prepared.pixels[None], [prepared])

    def _labelled(self, file: bytes, label: str | None) -> LabelledImages:
        images = self._decoded(file).images
        labels: list[Label] | None = None if label is None else [known_label(label, self._engine.labels)]
        plain = DecodedImages(images, [None])
        return label_images(self._engine, plain, labels, self._settings.typicality_level)

    def _prediction(self, decoded: DecodedImages, shown: DecodedImages | None) -> JSONObject:
        predicted, level = self._engine.predict(decoded.images), self._settings.typicality_level
        (item,) = predictions(self._engine.labels, predicted, level, shown, shown is not None)
        return item


async def _work(kind: str, message: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Returns what a worker makes of a message.

    Raises:
        Problem: There is no worker, or it died.
    """
    pool = WorkerPool(kind, workers=1, queue=1)
    pool.start()
    try:
        while pool.status().state == "starting":  # to load torch is no part of the work's time
            await asyncio.sleep(_POLL_SECONDS)
        (found,) = await pool.run([message], time.monotonic() + seconds)
        return found
    finally:
        await pool.stop()
