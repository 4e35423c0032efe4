"""What a model answers in Python: typed results that draw themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from model.conformal import TypicalWithin
from model.explanation_figure import explanation_figure, explanation_sentence
from model.package import Label
from service.codecs.figure_png import figure_png, save_figure
from service.codecs.rendering import grey_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Image = NDArray[np.float32]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Typicality:
    """Whether an image looks like those that the model was trained on (docs/typicality.md).

    Attributes:
        p_value: The share of held-out genuine images that are at least as unusual.
        typical: Whether the p-value is above the level that was asked for.
    """

    p_value: float
    typical: bool


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        label: The class with the largest logit.
        confidence: Its probability.
        probabilities: By label; they add up to 1.
        logits: By label.
        image: (H, W) in [0, 1], what the network saw.
        preprocessed: What was done to the image before, in words; empty if it was taken as it is.
        typicality: None if the package has no calibration.
    """

    label: Label
    confidence: float
    probabilities: dict[Label, float]
    logits: dict[Label, float]
    image: Image = field(repr=False, compare=False)
    preprocessed: tuple[str, ...] = ()
    typicality: Typicality | None = None

    def plot(self) -> "Figure":
        """Draws the image beside the probabilities. Needs matplotlib.

        Raises:
            ModuleNotFoundError: It is not installed; the message names the extra.
        """
        from whitebox.plots import prediction_figure

        return prediction_figure(self)

    def _repr_html_(self) -> str:
        """Returns what a notebook shows."""
        rows = "".join(
            f"<tr><th>{escape(str(label))}</th><td>{share:.4f}</td></tr>"
            for label, share in sorted(self.probabilities.items(), key=lambda each: -each[1])[:5]
        )
        picture = f'<img src="data:image/png;base64,{grey_png(self.image)}" width="112" alt="{self}">'
        return f"{picture}<p>{escape(str(self))}</p><table>{rows}</table>"

    def __str__(self) -> str:
        said = f"{self.label} with confidence {self.confidence:.4f}"
        if self.typicality is None or self.typicality.typical:
            return said
        return f"{said}, but unlike what the model was trained on (p-value {self.typicality.p_value:.4f})"


@dataclass(frozen=True)
class Explanation:
    """How a prediction came about, layer by layer: every level adds up to the logit.

    With C classes, F shapes and images of H x W pixels:

    Attributes:
        prediction: What is explained.
        two_step: (H, W) in [-1, 1], the two-step layer's output.
        bright: (H, W), the convolutional layer's output.
        kernel: (H, W), the kernel that won at each pixel.
        rotation: (H, W), and its rotation.
        shapes: (F,) activations of the affine layer.
        pose: (F,) the pose in which each shape was found.
        templates: (F, H, W), each shape in that pose.
        claim_pose: (C,) the own shape that carries each class's claim.
        contributions: (C, F), what each shape adds to each logit.
        attribution_bright: (C, H, W), what each pixel of the bright map adds to each logit.
        attribution_two_step: (C, H, W), the same of the two-step map.
        gradient: (C, H, W) of each logit with respect to the image.
        shapes_per_class: Consecutive shapes that speak for one class.
    """

    prediction: Prediction
    two_step: Floats = field(repr=False)
    bright: Floats = field(repr=False)
    kernel: Integers = field(repr=False)
    rotation: Integers = field(repr=False)
    shapes: Floats = field(repr=False)
    pose: Integers = field(repr=False)
    templates: Floats = field(repr=False)
    claim_pose: Integers = field(repr=False)
    contributions: Floats = field(repr=False)
    attribution_bright: Floats = field(repr=False)
    attribution_two_step: Floats = field(repr=False)
    gradient: Floats = field(repr=False)
    shapes_per_class: int = field(repr=False)

    @property
    def labels(self) -> Sequence[Label]:
        """The label of each class, in the order of the arrays."""
        return tuple(self.prediction.logits)

    @cached_property
    def sentence(self) -> str:
        """The explanation in one sentence."""
        return explanation_sentence(self._trace(), self.labels)

    def svg(self) -> str:
        """Returns the composed figure of the explanation, as the service and the command line draw it."""
        return explanation_figure(self.prediction.image, self._trace(), self.labels, self.shapes_per_class)

    def png(self) -> bytes:
        """Returns the same figure as PNG."""
        return figure_png(self.svg())

    def save(self, path: str | Path) -> None:
        """Writes the composed figure as an SVG or PNG file, whichever the name ends in.

        Raises:
            ValueError: It ends in something else.
        """
        save_figure(self.svg(), Path(path))

    def plot(self) -> "Figure":
        """Shows the composed figure as one of matplotlib's, to be put beside others. Needs matplotlib.

        Raises:
            ModuleNotFoundError: It is not installed; the message names the extra.
        """
        from whitebox.plots import explanation_plot

        return explanation_plot(self)

    def _trace(self) -> dict[str, Floats]:
        names = ("two_step", "bright", "templates", "contributions")
        logits = np.array(list(self.prediction.logits.values()), np.float32)
        return {**{name: getattr(self, name) for name in names}, "logits": logits}

    def _repr_svg_(self) -> str:
        """Returns what a notebook shows."""
        return self.svg()

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class AttackOutcome:
    """What an attack found.

    Attributes:
        success: Whether `adversarial` is classified as something else than the true label.
        original: What the model says of the image.
        adversarial: What it says of the best attempt inside the ball; of the image itself if there was none.
        linf: Largest change of a pixel.
        l2: Euclidean distance.
        queries: Images that went through the model, those of gradients included.
        stopped_by: Why the attack ended.
    """

    success: bool
    original: Prediction
    adversarial: Prediction
    linf: float
    l2: float
    queries: int
    stopped_by: str

    def plot(self) -> "Figure":
        """Draws the original, the adversarial image and their difference. Needs matplotlib.

        Raises:
            ModuleNotFoundError: It is not installed; the message names the extra.
        """
        from whitebox.plots import attack_figure

        return attack_figure(self)

    def __str__(self) -> str:
        if not self.success:
            return f"no adversarial image found in {self.queries:,} queries; it stays {self.original.label}"
        return (
            f"{self.original.label} becomes {self.adversarial.label} at an L-inf distance of {self.linf:.4g} "
            f"after {self.queries:,} queries"
        )


@dataclass(frozen=True)
class Certificate:
    """What was proved of all images within epsilon of one (L-inf, inside [0, 1]).

    It says whether the answer changes, not whether it is true.

    Attributes:
        verdict: "certified": all are classified as `label`. "falsified": `counterexample` is not.
            "unknown": neither was shown.
        label: The label that is certified.
        epsilon: Radius of the ball.
        method: What decided: a bound, "attack", or "clean" where the image itself has another label.
        margin_lower_bound: No image in the ball has a smaller margin.
        certified_radius: The largest radius that interval bounds certify; None if it was not asked for.
        counterexample: (H, W), or None.
        prediction: What the model says of the image itself, its typicality among it.
        typical_within_epsilon: "always": every image in the ball is typical. "never": none is. "unknown":
            neither was shown. None if the package has no prototypes, or time ran out.
        seconds: Time taken.
    """

    verdict: Literal["certified", "falsified", "unknown"]
    label: Label
    epsilon: float
    method: str
    margin_lower_bound: float
    certified_radius: float | None
    counterexample: Image | None = field(repr=False, compare=False)
    prediction: Prediction = field(repr=False, compare=False)
    typical_within_epsilon: TypicalWithin | None
    seconds: float = field(compare=False)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.label} within {self.epsilon:g}, by {self.method}"
