"""What reads the bytes of strangers: files of images, JSON of /v1/predict, bodies of V2.

Each takes whatever there is and returns nothing; only what it does not document escapes.
"""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.measuring import PACKAGE
from model.package import read_package
from service.api.openinference.schemas import InferRequest
from service.api.openinference.tensors import image_tensor, requested_outputs, split_body
from service.api.schemas.requests import PredictRequest
from service.budgets import RequestBudgets
from service.codecs.json_images import DecodedImages, OpenedImages
from service.codecs.number_lists import parse_number_lists
from service.codecs.preprocessing import NotADigitError, pixel_count, read_image_file
from service.errors import Problem
from service.http.json_body import parse_json, parse_values
from service.inference.engine import Engine

_PNG = b"\x89PNG\r\n\x1a\n"
_BUDGETS = RequestBudgets()
_MOST_PIXELS = (
    250_000  # fewer than the service's, so that a case takes a millisecond and not a tenth of a second
)


@cache
def _engine() -> Engine:
    return Engine(read_package(PACKAGE))


def image_file(content: bytes) -> None:
    """Reads a file of an image as /v1/predict does, one digit of it and all."""
    content = with_right_checksums(content)
    pixel_count(content)
    form = _engine().preprocessing
    with suppress(NotADigitError):
        picture = read_image_file(content, _MOST_PIXELS, form.working_side)
        for prepare in (form.one, form.all):
            with suppress(NotADigitError):
                prepare(picture)


def predict_body(content: bytes) -> None:
    """Reads the JSON of /v1/predict in both ways; where both take it they have to agree."""
    quick, slow = parse_number_lists(content, _BUDGETS.max_images), _by_schema(content)
    if quick is None or quick.images.shape[1:] != _engine().size:
        return  # the schema alone decides, or both refuse it by its size
    assert slow is not None, "the quick reader takes what the schema refuses"
    assert np.array_equal(quick.images.astype(np.float32), slow.images), (
        "the two readers see different images"
    )


def _by_schema(content: bytes) -> DecodedImages | None:
    form = _engine().preprocessing
    with suppress(Problem):
        body = parse_json(PredictRequest, content, _BUDGETS)
        images, most = body.images, _BUDGETS.max_images
        opened = OpenedImages(
            form, images, most, _budgets_of_fewer_pixels(), preprocess=body.preprocess, split=body.split
        )
        return opened.decode()
    return None


@cache
def _budgets_of_fewer_pixels() -> RequestBudgets:
    return RequestBudgets(max_png_pixels=_MOST_PIXELS, max_pixels=4 * _MOST_PIXELS)


def infer_body(content: bytes) -> None:
    """Reads a body of V2: the first line is the header that tells how long its JSON is, empty for none."""
    header, _, body = content.partition(b"\n")
    with suppress(Problem):
        head, binary = split_body(body, header.decode("latin-1") or None)
        try:
            request = InferRequest.model_validate(parse_values(head, _BUDGETS))
        except ValueError:  # not JSON, or not what the schema says
            return
        requested_outputs(request, _engine())
        images = image_tensor(request, binary, _BUDGETS.max_images, _engine().size)
        assert images.shape[1:] == _engine().size
        assert 0 <= images.min() <= images.max() <= 1


READERS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (image_file, predict_body, infer_body)
}


def corpus(reader: str) -> Iterator[bytes]:
    """Returns what a reader takes: where a fuzzer begins."""
    yield from {"image_file": _files, "predict_body": _predict_bodies, "infer_body": _infer_bodies}[reader]()


def _digit() -> Image.Image:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[6:22, 9:12] = pixels[6:9, 9:19] = pixels[13:16, 9:19] = 230
    return Image.fromarray(pixels)


def _files() -> Iterator[bytes]:
    grey = _digit()
    turned = Image.Exif()
    turned[0x0112] = 6
    for mode, kind, options in (
        ("L", "PNG", {}),
        ("1", "PNG", {}),
        ("P", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("I;16", "PNG", {}),
        ("L", "PNG", {"exif": turned}),
        ("L", "JPEG", {"exif": turned}),
        ("RGB", "JPEG", {"progressive": True}),
        ("CMYK", "JPEG", {}),
        ("RGB", "WEBP", {}),
        ("RGBA", "WEBP", {"lossless": True, "exif": turned}),
    ):
        file = io.BytesIO()
        image = Image.fromarray(np.asarray(grey, np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
        image.save(file, kind, **options)
        yield file.getvalue()


def _predict_bodies() -> Iterator[bytes]:
    lists = (np.asarray(_digit()) / 255).round(2).tolist()
    file = base64.b64encode(next(_files())).decode()
    for body in (
        {"images": [lists]},
        {"model": "mnist-3v5", "images": [lists, lists], "version": "5"},
        {"images": [{"image": file}, lists], "split": False, "typicality_level": 0.05},
        {"images": [{"png": file}], "preprocess": True, "debug": "preprocessing"},
        {"images": [lists], "preprocess": True, "split": True},
    ):
        yield json.dumps(body).encode()
    yield b'{"images": [[%b]]}' % b",".join([b"[" + b",".join([b"1e-2, 5E-1"] * 14) + b"]"] * 28)


def _infer_bodies() -> Iterator[bytes]:
    for kind, dtype in (
        ("FP32", np.dtype(np.float32)),
        ("FP64", np.dtype(np.float64)),
        ("FP16", np.dtype(np.float16)),
        ("UINT8", np.dtype(np.uint8)),
    ):
        values = (np.asarray(_digit()) / (1 if kind == "UINT8" else 255)).astype(dtype)
        tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": kind}
        outputs = [{"name": "logits", "parameters": {"binary_data": True}}, {"name": "label"}]
        yield b"\n" + json.dumps({"inputs": [{**tensor, "data": values.ravel().tolist()}]}).encode()
        raw = values.astype(dtype).tobytes()
        sized = {**tensor, "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"id": "1", "inputs": [sized], "outputs": outputs}).encode()
        yield b"%d\n" % len(head) + head + raw


def with_right_checksums(content: bytes) -> bytes:
    """Returns a PNG whose chunks have the checksums of what is in them; without, no change gets past them."""
    if not content.startswith(_PNG):
        return content
    fixed, at = bytearray(content), len(_PNG)
    while at + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, at)
        end = at + 8 + length
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)
