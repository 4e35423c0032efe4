"""A model package in Python: predict, explain, attack and certify without a server.

onnxruntime answers, as in the service; torch is imported when an attack or a certificate is asked for.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from model.attacks.catalogue import ATTACKS
from model.attacks.settings import AttackSettings, Norm
from model.package import Label, ModelPackage, read_package
from model.package_directory import newest_package
from service.codecs.preprocessing import (
    BLANK_MESSAGE,
    Picture,
    Prepared,
    is_blank,
    picture_of,
    read_image_file,
)
from service.codecs.serialization import Predicted
from service.inference.engine import Engine
from service.settings import SHIPPED_MODELS
from whitebox.results import AttackOutcome, Certificate, Explanation, Prediction, Typicality

if TYPE_CHECKING:
    from model.verification.verify import BoundName
    from whitebox.robustness import Robustness

ImageLike = str | Path | bytes | Image.Image | ArrayLike
"""A file's path or content, a PIL image, or an array: (H, W) of floats in [0, 1], or a picture of bytes."""

# A decompression bomb is refused; a photograph of a telephone is not.
_MOST_PIXELS = 2**26
# The settings' default.
_LEVEL = 0.01


def load(
    model: str | Path = "mnist-10", version: str | None = None, models_dir: str | Path | None = None
) -> "Model":
    """Loads a model.

    Args:
        model: Name of a shipped model, or a package's directory.
        version: Of the named model; default: the newest.
        models_dir: Where the named model is looked for, NAME/VERSION/; default: the shipped ones.

    Raises:
        PackageError: There is no such package, or it is damaged.
    """
    directory = SHIPPED_MODELS if models_dir is None else Path(models_dir)
    if isinstance(model, Path) or Path(model).is_dir():
        return Model(read_package(Path(model)))
    if version is not None:
        return Model(read_package(directory / model / version))
    return Model(newest_package(directory, model))


class Model:
    """A loaded model package. Safe to call from several threads.

    Args:
        package: Verified against its digests as it is read.

    Raises:
        PackageError: It is damaged.
    """

    def __init__(self, package: ModelPackage) -> None:
        self.package = package
        self._engine = Engine(package)

    @property
    def labels(self) -> Sequence[Label]:
        """The labels that it tells apart."""
        return self.package.labels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's images, in pixels."""
        return self._engine.size

    @property
    def epsilon(self) -> float:
        """Radius of the L-inf ball that the model was trained for, or is usually judged at."""
        from training.data import epsilon_of

        return epsilon_of(self.package.manifest.training or {})

    def predict(self, image: ImageLike, *, preprocess: bool = False, level: float = _LEVEL) -> Prediction:
        """Says what an image shows.

        Files, PIL images and arrays of bytes are pictures: they are brought into the network's form by the
        package's preprocessing. Arrays of floats are taken as they are unless `preprocess` is true.

        Args:
            image: One image.
            preprocess: Whether to treat an array of floats as a picture.
            level: An image whose p-value is at most this is called untypical.

        Raises:
            ValueError: It is no image, has another size than the network's, or cannot be such a digit.
        """
        return self.predict_all([image], preprocess=preprocess, level=level)[0]

    def predict_all(
        self, images: Iterable[ImageLike], *, preprocess: bool = False, level: float = _LEVEL
    ) -> list[Prediction]:
        """Says what each of several images shows; `predict` describes the arguments and errors."""
        return self._predictions([self._prepared(image, preprocess) for image in images], level)

    def explain(self, image: ImageLike, *, preprocess: bool = False, level: float = _LEVEL) -> Explanation:
        """Says what an image shows and how the network came to it; arguments and errors as for `predict`."""
        prediction = self.predict(image, preprocess=preprocess, level=level)
        trace = self._engine.explain(prediction.image[None])
        parts = {name: values[0] for name, values in trace.items() if name in _PARTS}
        return Explanation(prediction, **parts, shapes_per_class=self._engine.shapes_per_class)

    def certify(
        self,
        image: ImageLike,
        epsilon: float | None = None,
        label: Label | None = None,
        *,
        bound: "BoundName" = "interval",
        radius: bool = False,
        seconds: float = math.inf,
        preprocess: bool = False,
        level: float = _LEVEL,
    ) -> Certificate:
        """Proves, or disproves, that no image within epsilon of this one is classified otherwise.

        Where it can it also proves that all of these images are typical, or that none is.

        Args:
            image: As for `predict`.
            epsilon: Radius of the L-inf ball; default: the model's own.
            label: The label to certify; default: what the model says.
            bound: The tightest bound to try: "interval", "linear" or "milp".
            radius: Whether to look for the largest radius that interval bounds certify.
            seconds: Time limit for the bounds beyond intervals and the search for a counterexample.
            preprocess: As for `predict`.
            level: As for `predict`.

        Raises:
            ValueError: As for `predict`, or the model does not know the label.
            ModuleNotFoundError: torch is not installed.
        """
        from model.verification.verify import SearchPolicy

        original = self.predict(image, preprocess=preprocess, level=level)
        policy = SearchPolicy(bound, radius=radius, seconds=seconds)
        within = self.epsilon if epsilon is None else epsilon
        return self._robustness.certify(original, label, within, policy, level)

    def attack(
        self,
        image: ImageLike,
        attack: str = "pgd",
        *,
        epsilon: float | None = None,
        label: Label | None = None,
        norm: Norm = "linf",
        steps: int | None = None,
        restarts: int = 1,
        seed: int = 0,
        queries: int | None = None,
        preprocess: bool = False,
    ) -> AttackOutcome:
        """Looks for an image near this one that the model takes for something else.

        Args:
            image: As for `predict`.
            attack: Which attack (docs/api.md lists them).
            epsilon: Radius of the ball; default, for linf: the model's own.
            label: The true label; default: what the model says.
            norm: Of the ball.
            steps: Iterations; for square, queries. Default: the attack's own.
            restarts: Runs from different random starts, for the attacks that have one.
            seed: Of all randomness.
            queries: Most images that may go through the model.
            preprocess: As for `predict`.

        Raises:
            ValueError: As for `predict`, or there is no such attack, or the model does not know the label.
            ModuleNotFoundError: torch, foolbox or pyautoattack is not installed.
        """
        if attack not in ATTACKS:
            raise ValueError(f"There is no attack {attack!r}; there are {', '.join(ATTACKS)}.")
        original = self.predict(image, preprocess=preprocess)
        if epsilon is None and norm != "linf":
            raise ValueError("The model's own epsilon is one of the L-inf ball: name one for another norm.")
        within = self.epsilon if epsilon is None else epsilon
        settings = AttackSettings(attack, norm, within, steps, restarts, seed=seed)
        return self._robustness.attack(original, label, settings, queries, self._prediction_of_found)

    @cached_property
    def _robustness(self) -> "Robustness":
        from whitebox.robustness import Robustness

        return Robustness(self.package)

    def _prediction_of_found(self, pixels: NDArray[np.float32]) -> Prediction:
        return self._predictions([Prepared(pixels, ())], _LEVEL)[0]

    def _prepared(self, image: ImageLike, preprocess: bool) -> Prepared:
        form = self._engine.preprocessing
        if isinstance(image, (str, Path)):
            image = Path(image).read_bytes()
        if isinstance(image, bytes):
            return form.one(read_image_file(image, _MOST_PIXELS, form.working_side))
        if isinstance(image, Image.Image):
            return form.one(picture_of(image, form.working_side))
        pixels = _squeezed(np.asarray(image))
        if pixels.dtype == np.uint8:
            return form.one(picture_of(Image.fromarray(pixels), form.working_side))
        floats = _in_unit_range(pixels)
        if preprocess:
            return form.one(Picture(floats))
        if floats.shape != self.size:
            raise ValueError(
                f"The array is {floats.shape}, where the model takes {self.size}: preprocess=True brings "
                f"any picture into its form."
            )
        if is_blank(floats):
            raise ValueError(BLANK_MESSAGE)
        return Prepared(floats, ())

    def _predictions(self, prepared: Sequence[Prepared], level: float) -> list[Prediction]:
        if not prepared:
            return []
        predicted = self._engine.predict(np.stack([each.pixels for each in prepared]))
        return [self._prediction(each, predicted, index, level) for index, each in enumerate(prepared)]

    def _prediction(self, prepared: Prepared, predicted: Predicted, index: int, level: float) -> Prediction:
        logits, shares = (
            dict(zip(self.labels, values[index].tolist(), strict=True))
            for values in (predicted.logits, predicted.probabilities)
        )
        label = self.labels[int(predicted.logits[index].argmax())]
        p_value = float(predicted.p_values[index])
        typicality = None if math.isnan(p_value) else Typicality(p_value, p_value > level)
        return Prediction(label, shares[label], shares, logits, prepared.pixels, prepared.steps, typicality)

    def __repr__(self) -> str:
        labels = ", ".join(str(label) for label in self.labels)
        return f"<whitebox.Model {self.package.name}/{self.package.version}: {labels}>"


_PARTS = frozenset(Explanation.__dataclass_fields__)


def _squeezed(pixels: NDArray[Any]) -> NDArray[Any]:
    """Returns an array (1, 1, H, W) or (1, H, W) as (H, W)."""
    while pixels.ndim > 2 and pixels.shape[0] == 1:
        pixels = pixels[0]
    return pixels


def _in_unit_range(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if pixels.ndim != 2 or pixels.dtype.kind not in "fiub":
        raise ValueError(
            f"An array is (H, W) of floats, or (H, W[, 3]) of uint8, not {pixels.dtype} {pixels.shape}."
        )
    floats = pixels.astype(np.float32)
    if not (floats.min() >= 0 and floats.max() <= 1):  # NaN too
        raise ValueError("An array of floats holds numbers in [0, 1]; one of 0..255 has to be of type uint8.")
    return floats
