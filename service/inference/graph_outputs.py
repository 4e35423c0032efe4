"""What the graphs of a package have to answer, from its manifest: the labels' classes, the images' size."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.manifest import Manifest
from model.package import PackageError

Shape = tuple[int, ...]

# float32 through two graphs that onnxruntime fuses differently
_RELATIVE, _ABSOLUTE = 1e-3, 1e-3


def predict_outputs(manifest: Manifest) -> dict[str, Shape]:
    """Returns the shape of each output of predict.onnx for one image."""
    classes = (len(manifest.labels),)
    outputs: dict[str, Shape] = {"logits": classes, "probabilities": classes}
    if manifest.typicality is not None:
        outputs[manifest.typicality.output] = ()
    return outputs


def explain_outputs(manifest: Manifest) -> dict[str, Shape]:
    """Returns the shape of each output of explain.onnx for one image: the fields of `model.frozen.Trace`."""
    classes = len(manifest.labels)
    shapes = classes * manifest.config.shapes_per_class
    size = (manifest.input.height, manifest.input.width)
    pixels = dict.fromkeys(("two_step", "bright", "kernel", "rotation"), size)
    maps = dict.fromkeys(("attribution_bright", "attribution_two_step", "gradient"), (classes, *size))
    return {
        "logits": (classes,),
        **pixels,
        "shapes": (shapes,),
        "pose": (shapes,),
        "templates": (shapes, *size),
        "claim_pose": (classes,),
        "contributions": (classes, shapes),
        **maps,
    }


def check_answers(
    file: str, expected: Mapping[str, Shape], found: Mapping[str, NDArray[np.generic]], images: int
) -> None:
    """Checks what a graph answered to some images.

    Raises:
        PackageError: An output is missing, of another shape, or not finite.
    """
    for name, shape in expected.items():
        if name not in found:
            raise PackageError(f"{file} has no output {name!r}.")
        if found[name].shape != (images, *shape):
            raise PackageError(
                f"{file} answers {name} of shape {found[name].shape} to {images} images; "
                f"the manifest asks for {(images, *shape)}."
            )
        if not np.isfinite(found[name]).all():
            raise PackageError(f"{file} answers {name} that are not finite.")


def check_agreement(predicted: NDArray[np.generic], explained: NDArray[np.generic]) -> None:
    """Checks that both graphs give the same logits: an explanation is of the prediction.

    Raises:
        PackageError: They do not.
    """
    if not np.allclose(predicted, explained, _RELATIVE, _ABSOLUTE):
        raise PackageError("predict.onnx and explain.onnx give different logits.")
