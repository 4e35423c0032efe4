"""The loops of native.c and native_match.c as differentiable functions; compiled when first asked for.

Whoever has no C compiler trains with the plain functions of model/, to the same numbers and slower.
"""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.data.download import cache_directory

_SOURCES = tuple(Path(__file__).with_name(name) for name in ("native.c", "native_match.c"))
# What native.c is written for: images of the side that it says, kernels of at most that.
_SIDE = int(re.findall(r"\bSIDE = (\d+)", _SOURCES[0].read_text())[0])
_LARGEST_KERNEL = 7
# Sums may be taken in any order, which vector instructions need; all else is as the standard has it.
_FLAGS = (
    *("-O3", "-march=native", "-shared", "-fPIC", "-ffp-contract=fast"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the compiled loops, or nothing where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    command = [compiler, *_FLAGS, *map(str, _SOURCES)]
    code = b"".join(source.read_bytes() for source in _SOURCES)
    digest = hashlib.sha256(" ".join(command).encode() + code + _cpu()).hexdigest()[:16]
    path = cache_directory().parent / f"native-{digest}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            built = Path(directory) / path.name
            finished = subprocess.run([*command, "-o", str(built), "-lm"], check=False, capture_output=True)
            if finished.returncode:
                return None
            built.rename(path)
    return ctypes.CDLL(str(path))


def serves(device: torch.device, images: tuple[int, int], kernel: int = 1, shape: int = 0) -> bool:
    """Tells whether there is a library, and it can do images, kernels and shapes of these sides there."""
    fits = images == (_SIDE, _SIDE) and kernel <= _LARGEST_KERNEL and shape <= _SIDE and shape % 2 == 0
    return fits and device.type == "cpu" and library() is not None


def matches(templates: Tensor) -> bool:
    """Tells whether there is a library, and it can match maps with templates (F, P, H * W)."""
    _, poses, pixels = templates.shape
    fits = poses <= 256 and pixels == _SIDE**2
    return fits and templates.device.type == "cpu" and library() is not None


def _cpu() -> bytes:
    """Returns what tells this CPU from others: the code is compiled for it."""
    flags = Path("/proc/cpuinfo")
    lines = flags.read_text().splitlines() if flags.exists() else []
    return next((line for line in lines if line.startswith("flags")), "").encode()


_own_threads: int | None = None


@contextmanager
def threads_apart() -> Iterator[None]:
    """While the context lasts these loops have all threads, and torch's operations one.

    torch's threads spin while they wait for more work; on two cores they took a third of these loops' time.
    """
    global _own_threads  # noqa: PLW0603
    before, had = torch.get_num_threads(), _own_threads
    _own_threads = before
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _own_threads = had
        torch.set_num_threads(before)


def _thread_count() -> int:
    return torch.get_num_threads() if _own_threads is None else _own_threads


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="native")


def _shared_out(work: Callable[[int, int, int], Any], count: int) -> None:
    """Calls work(thread, first, last) for equal parts of range(count), each in a thread of its own."""
    threads = min(_thread_count(), count)
    bounds = [count * index // threads for index in range(threads + 1)]
    if threads == 1:
        work(0, 0, count)
    else:
        list(_threads(threads).map(work, range(threads), bounds[:-1], bounds[1:]))


def _call(name: str, *arguments: int | Tensor) -> int:
    found = library()
    assert found is not None, "no C compiler: ask library() first"
    returned: int = getattr(found, name)(
        *(ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else ctypes.c_int(a) for a in arguments)
    )
    return returned


class BrightBox(torch.autograd.Function):
    """Maps tables (2, 256), kernels (K, k, k) and images (N, 1, H, H) uint8 to (2, N, H * H).

    The tables hold the two-step map's bounds for each grey value; the result is the bright map's bounds.
    """

    @staticmethod
    def forward(ctx: Any, tables: Tensor, kernels: Tensor, images: Tensor) -> Tensor:
        tables, kernels, images = tables.contiguous(), kernels.contiguous(), images.contiguous()
        count, sizes = len(images), (len(kernels), kernels.shape[-1])
        bright = tables.new_empty(2, count, images[0].numel())
        winner = torch.empty_like(bright, dtype=torch.uint8)
        _shared_out(
            lambda _, first, last: _call(
                "bright_box", first, last, count, *sizes, images, tables, kernels, bright, winner
            ),
            count,
        )
        ctx.save_for_backward(tables, kernels, images, bright, winner)
        return bright

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        tables, kernels, images, bright, winner = ctx.saved_tensors
        gradient = gradient.contiguous()
        threads = _thread_count()
        of_tables, of_kernels = (each.new_zeros(threads, *each.shape) for each in (tables, kernels))
        given = (images, tables, kernels, bright, winner, gradient)
        _shared_out(
            lambda thread, first, last: _call(
                *("bright_box_backward", first, last, len(images), kernels.shape[-1], *given),
                *(of_tables[thread], of_kernels[thread]),
            ),
            len(images),
        )
        return of_tables.sum(0), of_kernels.sum(0), None


class Templates(torch.autograd.Function):
    """Maps bases (F, S, S) and poses (F, P, 2, 3) to templates (F, P, H * H) of norm 1."""

    @staticmethod
    def forward(ctx: Any, bases: Tensor, poses: Tensor) -> Tensor:
        bases, poses = bases.contiguous(), poses.contiguous()
        sizes = (poses.shape[1], bases.shape[-1])
        templates, norms = bases.new_empty(*poses.shape[:2], _SIDE**2), bases.new_empty(poses.shape[:2])
        _shared_out(
            lambda _, first, last: _call("templates", first, last, *sizes, bases, poses, templates, norms),
            len(bases),
        )
        ctx.save_for_backward(bases, poses, templates, norms)
        return templates

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        bases, poses, templates, norms = ctx.saved_tensors
        gradient = gradient.contiguous()
        sizes = (poses.shape[1], bases.shape[-1])
        of_bases, of_poses = torch.zeros_like(bases), torch.zeros_like(poses)
        given = (bases, poses, templates, norms, gradient, of_bases, of_poses)
        _shared_out(
            lambda _, first, last: _call("templates_backward", first, last, *sizes, *given), len(bases)
        )
        return of_bases, of_poses


class BestMatch(torch.autograd.Function):
    """Maps bounds (2, N, H * H) of maps and templates (F, P, H * H) to those of the best pose, (2, N, F).

    The gradient of a pixel that is dark for certain is left at 0: the bright map's ReLU stops it anyway.
    """

    @staticmethod
    def forward(ctx: Any, bounds: Tensor, templates: Tensor) -> Tensor:
        bounds, templates = bounds.contiguous(), templates.contiguous()
        count, (shapes, poses) = bounds.shape[1], templates.shape[:2]
        lit = torch.empty(count, _call("size_of_lit"), dtype=torch.uint8)
        _shared_out(lambda _, first, last: _call("lit_pixels", first, last, count, bounds, lit), count)
        best = bounds.new_empty(2, count, shapes)
        winner = torch.empty_like(best, dtype=torch.uint8)
        sizes = (count, shapes, poses)
        _shared_out(
            lambda _, first, last: _call("best_match", first, last, *sizes, lit, templates, best, winner),
            shapes,
        )
        ctx.save_for_backward(templates, lit, winner)
        return best

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        templates, lit, winner = ctx.saved_tensors
        gradient = gradient.contiguous()
        count, (shapes, poses) = len(lit), templates.shape[:2]
        of_bounds, of_templates = templates.new_zeros(2, count, _SIDE**2), torch.zeros_like(templates)
        given = (count, shapes, poses, lit, templates, winner, gradient)
        _shared_out(
            lambda _, first, last: _call("best_match_to_templates", first, last, *given, of_templates), shapes
        )
        _shared_out(
            lambda _, first, last: _call("best_match_to_bounds", first, last, *given, of_bounds), count
        )
        return of_bounds, of_templates
