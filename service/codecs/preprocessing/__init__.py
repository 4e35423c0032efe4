"""How an image file becomes what a network reads (docs/preprocessing.md)."""

from service.codecs.preprocessing.errors import Box, NotADigitError
from service.codecs.preprocessing.handwritten_digit import HandwrittenDigit, Prepared, is_blank
from service.codecs.preprocessing.image_files import (
    MEDIA_TYPES,
    Picture,
    decode_base64,
    pixel_count,
    read_image_file,
)

__all__ = [
    "MEDIA_TYPES",
    "MNIST_FORM",
    "SIDE",
    "Box",
    "HandwrittenDigit",
    "NotADigitError",
    "Picture",
    "Prepared",
    "decode_base64",
    "is_blank",
    "pixel_count",
    "read_image_file",
]

SIDE = 28
MNIST_FORM = HandwrittenDigit(height=SIDE, width=SIDE, box=20)
