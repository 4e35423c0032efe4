"""How an image file becomes what a network reads (docs/preprocessing.md)."""

from model.manifest import Manifest
from service.codecs.preprocessing.errors import Box, NotADigitError
from service.codecs.preprocessing.handwritten_digit import (
    BLANK,
    BLANK_MESSAGE,
    HandwrittenDigit,
    Prepared,
    is_blank,
)
from service.codecs.preprocessing.image_files import (
    MEDIA_TYPES,
    Picture,
    decode_base64,
    picture_of,
    pixel_count,
    read_image_file,
)
from service.codecs.preprocessing.resize import Resize

__all__ = [
    "BLANK",
    "BLANK_MESSAGE",
    "MEDIA_TYPES",
    "Box",
    "HandwrittenDigit",
    "NotADigitError",
    "Picture",
    "Prepared",
    "Preprocessing",
    "Resize",
    "decode_base64",
    "is_blank",
    "picture_of",
    "pixel_count",
    "preprocessing_of",
    "read_image_file",
]

Preprocessing = HandwrittenDigit | Resize


def preprocessing_of(manifest: Manifest) -> Preprocessing:
    """Returns the preprocessing that a package asks for.

    Raises:
        ValueError: It has a setting that this preprocessing does not know.
    """
    kinds = {"handwritten-digit": HandwrittenDigit, "resize": Resize}
    chosen, size = manifest.preprocessing, manifest.input
    try:
        found: Preprocessing = kinds[chosen.name](size.height, size.width, **chosen.settings)
    except TypeError as error:
        raise ValueError(
            f"preprocessing {chosen.name} and its settings {chosen.settings}: {error}"
        ) from error
    return found
