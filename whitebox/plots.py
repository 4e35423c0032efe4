"""Results drawn by matplotlib, for notebooks and papers."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from whitebox.results import AttackOutcome, Explanation, Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FOR, _AGAINST = "#1f5fbf", "#d9730d"  # as in model.explanation_figure
_PANEL = 2.2  # inches
_WIDTH = 8.8


def prediction_figure(prediction: Prediction) -> "Figure":
    """Draws the image beside the probabilities."""
    figure, (left, right) = _panels(2)
    _show_image(left, prediction.image, "what the network saw")
    names = [str(label) for label in prediction.probabilities]
    right.barh(names, list(prediction.probabilities.values()), color=_FOR)
    right.set_xlim(0, 1)
    right.invert_yaxis()
    right.set_title("probability", fontsize=9)
    figure.suptitle(str(prediction), fontsize=10)
    return figure


def explanation_plot(explanation: Explanation) -> "Figure":
    """Shows the composed figure, which is drawn as for the service and the command line."""
    with Image.open(io.BytesIO(explanation.png())) as picture:
        pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    figure, (axes,) = _panels(1)
    figure.set_size_inches(_WIDTH, _WIDTH * height / width)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.imshow(pixels)
    axes.set_axis_off()
    return figure


def attack_figure(outcome: AttackOutcome) -> "Figure":
    """Draws the original, the adversarial image and their difference."""
    figure, (before, after, change) = _panels(3)
    _show_image(before, outcome.original.image, str(outcome.original.label))
    _show_image(after, outcome.adversarial.image, str(outcome.adversarial.label))
    _show_signed(change, outcome.adversarial.image - outcome.original.image, "difference")
    figure.suptitle(str(outcome), fontsize=10)
    return figure


def _panels(count: int) -> "tuple[Figure, list[Axes]]":
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'Drawing needs matplotlib: pip install "whitebox-serving[plot]".', name="matplotlib"
        ) from error
    # Without pyplot: nothing global, no window; notebooks draw what has _repr_html_ or _repr_png_.
    figure = Figure(figsize=(_PANEL * count, _PANEL + 0.7), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0].tolist()


def _show_image(axes: "Axes", values: NDArray[Any], title: str) -> None:
    _show(axes, title, values, cmap="gray", vmin=0)


def _show_signed(axes: "Axes", values: NDArray[Any], title: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("signed", [_AGAINST, "white", _FOR])
    most = float(np.abs(values).max()) or 1.0
    _show(axes, title, values, cmap=colours, vmin=-most, vmax=most)


def _show(axes: "Axes", title: str, values: NDArray[Any], **settings: Any) -> None:  # noqa: ANN401
    axes.imshow(values, interpolation="nearest", **settings)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
