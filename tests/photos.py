"""Photographs made from real digits: ink on paper, at any place and scale, in the light of a desk.

    photo = photograph(digit, "shadow", seed=7)     # bytes of a JPEG, 640 x 480 or upright

`digit` is an image of MNIST, light on dark. The same arguments give the same bytes. Every kind has a base in
common, a pen on slightly uneven paper, a little turned, a little noise, and adds what its name says.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import distance_transform_edt

from service.codecs.preprocessing import HandwrittenDigit

Plane = NDArray[np.float32]
Random = np.random.Generator

MNIST_FORM = HandwrittenDigit(height=28, width=28, box=20)


@dataclass
class Scene:
    """A photograph in the making.

    Attributes:
        cover: (H, W), how much of the paper the ink covers, 0 to 1.
        paper: (H, W, 3), what the paper reflects.
        ink: What the ink reflects, by colour.
        light: (H, W), what falls on the paper.
        noise: Standard deviation of the sensor's noise.
        quality: Of the JPEG.
        blur: Radius in pixels.
    """

    cover: Plane
    paper: Plane
    ink: Plane
    light: Plane
    noise: float = 0.012
    quality: int = 90
    blur: float = 0.6


# The eight neighbours of a pixel, from the one above clockwise, as shifts that bring them to it.
_RING = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))

Kind = Callable[[Scene, Random], None]


def photograph(digit: Plane, kind: str, seed: int) -> bytes:
    """Returns the JPEG file of a photograph of one digit (28, 28), light on dark, of one of `KINDS`."""
    random = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    width, height = (640, 480) if random.random() < 0.7 else (480, 640)
    pen = {"thin pen": 0, "thick marker": 0.28}.get(kind, 0.5)
    scene = Scene(
        cover=_placed(digit, height, width, pen, random),
        paper=_paper(height, width, random),
        ink=np.float32(random.uniform(0.08, 0.3)) * np.ones(3, np.float32),
        light=_slope(height, width, random, random.uniform(0, 0.15)),
    )
    KINDS[kind](scene, random)
    return _exposed(scene, random)


def on_paper(digits: list[Plane], height: int = 480, width: int = 640, seed: int = 0) -> bytes:
    """Returns the JPEG of several digits side by side, from left to right, with some room between them."""
    random = np.random.default_rng(seed)
    cover = np.zeros((height, width), np.float32)
    room = width // len(digits)
    for index, digit in enumerate(digits):
        side = int(min(room, height) * random.uniform(0.7, 0.95))
        top = int(
            random.integers(height // 2 - side // 2 - height // 12, height // 2 - side // 2 + height // 12)
        )
        left = index * room + (room - side) // 2
        top = max(top, 0)
        area = cover[top : top + side, left : left + side]
        np.maximum(area, _stroke(digit, side, 0.0, 0.5)[: area.shape[0], : area.shape[1]], out=area)
    ink = np.full(3, 0.2, np.float32)
    scene = Scene(cover, _paper(height, width, random), ink, _slope(height, width, random, 0.3))
    return _exposed(scene, random)


def _placed(digit: Plane, height: int, width: int, pen: float, random: Random) -> Plane:
    """Returns the cover (H, W) of the digit somewhere on the paper, as large as it may be."""
    side = int(min(height, width) * random.uniform(0.22, 0.95))
    stroke = _thin(digit, side, random) if pen == 0 else _stroke(digit, side, random.uniform(-8, 8), pen)
    cover = np.zeros((height, width), np.float32)
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    cover[top : top + side, left : left + side] = stroke
    return cover


def _stroke(digit: Plane, side: int, angle: float, pen: float) -> Plane:
    """Returns the digit (side, side) as ink with sharp edges: where it was brighter than `pen`."""
    large = Image.fromarray((digit * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    turned = large.filter(ImageFilter.GaussianBlur(side / 90)).rotate(angle, Image.Resampling.BICUBIC)
    return np.clip((np.asarray(turned, np.float32) / 255 - pen) * (side / 20) + 0.5, 0, 1)


def _thin(digit: Plane, side: int, random: Random) -> Plane:
    """Returns the digit (side, side) as a ball pen draws it: a line of 2.5 to 6% of its size."""
    small = Image.fromarray((digit * 255).astype(np.uint8)).resize((84, 84), Image.Resampling.BICUBIC)
    line = Image.fromarray(_skeleton(np.asarray(small) > 110)).resize((side, side), Image.Resampling.NEAREST)
    smooth = np.asarray(line.filter(ImageFilter.GaussianBlur(side / 84)), np.float32) / 255
    away = distance_transform_edt(smooth < 0.4 * smooth.max())
    return np.clip(side * random.uniform(0.009, 0.022) - away + 0.5, 0, 1).astype(np.float32)


def _skeleton(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns the lines, one pixel wide, that Zhang and Suen (1984) thin a mask to; 255 on them."""
    mask = mask.copy()
    while True:
        before = mask.sum()
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            ring = np.stack([np.roll(mask, shift, (0, 1)) for shift in _RING])
            changes = (~ring & np.roll(ring, -1, axis=0)).sum(axis=0)
            near = ring.sum(axis=0)
            outer = ~ring[list(first)].all(axis=0) & ~ring[list(second)].all(axis=0)
            mask &= ~((changes == 1) & (near >= 2) & (near <= 6) & outer)
        if mask.sum() == before:
            return mask.astype(np.uint8) * 255


def _paper(height: int, width: int, random: Random) -> Plane:
    tone = random.uniform(0.8, 0.97) * np.array([1, random.uniform(0.96, 1), random.uniform(0.88, 1)])
    fibres = 0.012 * _clouds(height, width, 2, random)
    return (tone + fibres[..., None]).astype(np.float32)


def _clouds(height: int, width: int, size: float, random: Random) -> Plane:
    """Returns smooth noise (H, W) of mean 0 and deviation 1, its spots `size` pixels large."""
    small = random.normal(size=(max(2, int(height / size)), max(2, int(width / size)))).astype(np.float32)
    large = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return (large - large.mean()) / (large.std() + 1e-6)


def _slope(height: int, width: int, random: Random, fall: float) -> Plane:
    """Returns light (H, W) that falls from 1 by `fall` across the image, in any direction."""
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    ramp = x * np.cos(angle) + y * np.sin(angle)
    return (1 - fall * (ramp - ramp.min()) / np.ptp(ramp)).astype(np.float32)


def _soft(mask: Plane, radius: float) -> Plane:
    image = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image, np.float32) / 255


def _half_plane(height: int, width: int, random: Random, least: float, most: float) -> Plane:
    """Returns 1 on one side of a straight edge that leaves between these shares of the image in it."""
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = x * np.cos(angle) + y * np.sin(angle)
    return (ramp < np.quantile(ramp, random.uniform(least, most))).astype(np.float32)


def _exposed(scene: Scene, random: Random) -> bytes:
    cover = scene.cover[..., None]
    seen = (scene.paper * (1 - cover) + scene.paper * scene.ink * cover) * scene.light[..., None]
    image = Image.fromarray((np.clip(seen, 0, 1) * 255).astype(np.uint8))
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(scene.blur)), np.float32) / 255
    noisy = blurred + random.normal(0, scene.noise, seen.shape)
    file = io.BytesIO()
    Image.fromarray((np.clip(noisy, 0, 1) * 255).astype(np.uint8)).save(file, "JPEG", quality=scene.quality)
    return file.getvalue()


def _pen(scene: Scene, random: Random) -> None:
    """Nothing beyond the pen, the paper and the daylight."""


def _falling_light(scene: Scene, random: Random) -> None:
    scene.light *= _slope(*scene.light.shape, random, random.uniform(0.45, 0.75))


def _vignette(scene: Scene, random: Random) -> None:
    height, width = scene.light.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot((y - height / 2) / height, (x - width / 2) / width)
    scene.light *= 1 - random.uniform(0.5, 0.9) * away**2


def _shadow(scene: Scene, random: Random) -> None:
    height, width = scene.light.shape
    edge = _half_plane(height, width, random, 0.25, 0.75)
    scene.light *= 1 - random.uniform(0.3, 0.55) * _soft(edge, random.uniform(4, 25))


def _finger_shadow(scene: Scene, random: Random) -> None:
    height, width = scene.light.shape
    angle, centre = random.uniform(0, np.pi), random.uniform(0.2, 0.8, 2)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across = (x - centre[0] * width) * np.sin(angle) - (y - centre[1] * height) * np.cos(angle)
    finger = (np.abs(across) < random.uniform(35, 70)).astype(np.float32)
    scene.light *= 1 - random.uniform(0.2, 0.45) * _soft(finger, random.uniform(10, 25))


def _noise(scene: Scene, random: Random) -> None:
    scene.noise = random.uniform(0.06, 0.12)


def _blur(scene: Scene, random: Random) -> None:
    side = np.ptp(np.nonzero(scene.cover.any(axis=1))[0])
    scene.blur = float(side * random.uniform(0.015, 0.035))


def _pencil(scene: Scene, random: Random) -> None:
    scene.ink = np.full(3, random.uniform(0.45, 0.62), np.float32)
    grain = 0.75 + 0.25 * _clouds(*scene.cover.shape, 3, random)
    scene.cover *= np.clip(grain, 0.2, 1)


def _coloured_pen(scene: Scene, random: Random) -> None:
    pens = [(0.1, 0.15, 0.55), (0.7, 0.1, 0.12), (0.1, 0.5, 0.2), (0.9, 0.45, 0.1), (0.5, 0.15, 0.55)]
    scene.ink = np.array(pens[random.integers(len(pens))], np.float32)


def _ruled(scene: Scene, random: Random) -> None:
    _rule(scene, random, squared=False)


def _squared(scene: Scene, random: Random) -> None:
    _rule(scene, random, squared=True)


def _rule(scene: Scene, random: Random, squared: bool) -> None:
    height, width = scene.cover.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    tilt, gap = random.uniform(-0.06, 0.06), random.uniform(0.05, 0.13) * height
    thick, depth = random.uniform(1.0, 2.2), random.uniform(0.25, 0.55)
    lines = np.abs((y + tilt * x) % gap - gap / 2) < thick / 2
    if squared:
        lines |= np.abs((x - tilt * y) % gap - gap / 2) < thick / 2
    printed = np.array([1.0, 0.75, 0.45], np.float32) * np.float32(depth)
    scene.paper *= 1 - _soft(lines.astype(np.float32), 0.6)[..., None] * printed
    scene.ink = np.array([0.12, 0.16, random.uniform(0.15, 0.55)], np.float32)


def _frame(scene: Scene, random: Random) -> None:
    """A drawn frame around the paper, or a dark rim of the picture."""
    height, width = scene.cover.shape
    inset, thick = random.integers(0, 8), random.integers(3, 14)
    rim = np.ones_like(scene.cover)
    rim[inset + thick : height - inset - thick, inset + thick : width - inset - thick] = 0
    rim[:inset], rim[height - inset :], rim[:, :inset], rim[:, width - inset :] = 0, 0, 0, 0
    inside = _shrunk(scene.cover, inset + thick + 6)
    scene.cover = np.maximum(inside, rim)


def _shrunk(cover: Plane, margin: int) -> Plane:
    height, width = cover.shape
    size = width - 2 * margin, height - 2 * margin
    smaller = Image.fromarray((cover * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return np.pad(np.asarray(smaller, np.float32) / 255, margin)


def _table(scene: Scene, random: Random) -> None:
    """The paper lies on a table whose edge strips are in the picture."""
    height, width = scene.cover.shape
    margin = int(random.uniform(0.04, 0.14) * min(height, width))
    scene.cover = _shrunk(scene.cover, margin + 6)
    wood = (
        random.uniform(0.15, 0.5) * np.array([1.0, 0.75, 0.5])
        + 0.03 * _clouds(height, width, 9, random)[..., None]
    )
    paper = np.zeros_like(scene.cover)
    sides = random.integers(0, 2, 4) * margin
    paper[sides[0] : height - sides[1], sides[2] : width - sides[3]] = 1
    paper = _soft(paper, 0.8)[..., None]
    scene.paper = (scene.paper * paper + wood * (1 - paper)).astype(np.float32)


def _dark_background(scene: Scene, random: Random) -> None:
    """Chalk on a blackboard, or a light pen on dark paper."""
    board = random.uniform(0.08, 0.3)
    scene.paper = scene.paper / scene.paper.mean() * np.float32(board)
    scene.ink = np.full(3, random.uniform(0.7, 0.95) / board, np.float32)


def _thin_pen(scene: Scene, random: Random) -> None:
    scene.ink = np.array([0.12, 0.15, random.uniform(0.12, 0.5)], np.float32)


def _thick_marker(scene: Scene, random: Random) -> None:
    scene.ink = np.full(3, random.uniform(0.05, 0.15), np.float32)


def _glare(scene: Scene, random: Random) -> None:
    """A whiteboard that mirrors a lamp."""
    height, width = scene.light.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    centre, size = random.uniform(0.1, 0.9, 2), random.uniform(0.08, 0.2) * width
    lamp = np.exp(-(((x - centre[0] * width) ** 2 + (y - centre[1] * height) ** 2) / (2 * size**2)))
    scene.light *= 0.75 * (1 + random.uniform(0.2, 0.5) * lamp)


def _jpeg(scene: Scene, random: Random) -> None:
    scene.quality = int(random.integers(12, 30))


KINDS: dict[str, Kind] = {
    "pen": _pen,
    "falling light": _falling_light,
    "vignette": _vignette,
    "shadow": _shadow,
    "finger shadow": _finger_shadow,
    "noise": _noise,
    "blur": _blur,
    "pencil": _pencil,
    "coloured pen": _coloured_pen,
    "ruled paper": _ruled,
    "squared paper": _squared,
    "frame": _frame,
    "table": _table,
    "dark background": _dark_background,
    "thin pen": _thin_pen,
    "thick marker": _thick_marker,
    "glare": _glare,
    "jpeg": _jpeg,
}
