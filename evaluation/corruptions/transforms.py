"""How images are spoilt, one function a corruption, on OpenCV and numpy.

The fifteen of MNIST-C (Mu & Gilmer 2019, arXiv 1906.02337) are written anew from the published settings:
images differ from the published ones in their random draws, and in how OpenCV interpolates and blurs.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""One image (H, W) in [0, 1]."""

Corrupt = Callable[[Image, np.random.Generator], Image]
"""Maps an image to the spoilt one, which may leave [0, 1]; draws from the generator alone."""


def _blurred(image: Image, sigma: float) -> Image:
    side = 2 * math.ceil(4 * sigma) + 1
    return np.asarray(
        cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE), np.float32
    )


def _warped(image: Image, linear: list[list[float]], shift: tuple[float, float] = (0, 0)) -> Image:
    """Returns the image whose pixel y shows `image` at linear (y - centre) + centre + shift, as (x, y)."""
    height, width = image.shape
    matrix, centre = np.array(linear), np.array([width - 1, height - 1]) / 2
    offset = centre + np.array(shift) - matrix @ centre
    inverse = np.column_stack([matrix, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, inverse, (width, height), flags=flags), np.float32)


def _either(generator: np.random.Generator) -> int:
    return int(generator.choice([-1, 1]))


def gaussian_blur(sigma: float) -> Corrupt:
    """Blurs with a Gaussian of so many pixels."""
    return lambda image, _: _blurred(image, sigma)


def brighter(amount: float) -> Corrupt:
    """Adds the same to every pixel."""
    return lambda image, _: image + np.float32(amount)


def rotated(radians: float) -> Corrupt:
    """Turns about the centre, either way."""

    def apply(image: Image, generator: np.random.Generator) -> Image:
        cos, sin = math.cos(radians), _either(generator) * math.sin(radians)
        return _warped(image, [[cos, -sin], [sin, cos]])

    return apply


def sheared(amount: float) -> Corrupt:
    """Shears along the rows, either way."""

    def apply(image: Image, generator: np.random.Generator) -> Image:
        return _warped(image, [[1, -_either(generator) * math.sin(amount)], [0, math.cos(amount)]])

    return apply


def scaled(factor: float) -> Corrupt:
    """Makes everything smaller about the centre."""
    return lambda image, _: _warped(image, [[1 / factor, 0], [0, 1 / factor]])


def translated(pixels: int) -> Corrupt:
    """Moves by so many pixels along both axes."""

    def apply(image: Image, generator: np.random.Generator) -> Image:
        return _warped(image, [[1, 0], [0, 1]], (pixels * _either(generator), pixels * _either(generator)))

    return apply


def shifted(pixels: int) -> Corrupt:
    """Moves by so many pixels along one axis."""

    def apply(image: Image, generator: np.random.Generator) -> Image:
        move = [pixels * _either(generator), 0]
        generator.shuffle(move)
        return _warped(image, [[1, 0], [0, 1]], (move[0], move[1]))

    return apply


def shot_noise(image: Image, generator: np.random.Generator) -> Image:
    """Counts photons, 3 for a white pixel."""
    return (generator.poisson(image * 3) / 3).astype(np.float32)


def salt_and_pepper(share: float) -> Corrupt:
    """Makes this share of the pixels black or white."""

    def apply(image: Image, generator: np.random.Generator) -> Image:
        drawn, salt = generator.random(image.shape), generator.random(image.shape) < 1 / 2
        return np.where(drawn < share, salt, image).astype(np.float32)

    return apply


def glass_blur(image: Image, generator: np.random.Generator) -> Image:
    """Blurs, swaps half of the pixels with a neighbour, twice, and blurs again."""
    shuffled = _blurred(image, 0.7)
    height, width = image.shape
    swapped = generator.random((2, height, width)) < 1 / 2
    by = generator.integers(0, 2, (2, height, width, 2))
    for each in range(2):
        for y, x in np.argwhere(swapped[each, 2:, 2:])[::-1] + 2:
            other = y - by[each, y, x, 0], x - by[each, y, x, 1]
            shuffled[y, x], shuffled[other] = shuffled[other], shuffled[y, x]
    return _blurred(shuffled, 0.7)


def motion_blur(image: Image, generator: np.random.Generator) -> Image:
    """Blurs to one side along a line, as ImageMagick does with radius 10 and sigma 3."""
    reach, angle = 20, generator.uniform(-math.pi / 4, math.pi / 4)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for step in range(reach + 1):
        at = round(step * math.sin(angle)) + reach, round(step * math.cos(angle)) + reach
        kernel[at] += math.exp(-(step**2) / (2 * 3**2))
    blurred = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)


def stripe(image: Image, _: np.random.Generator) -> Image:
    """Inverts the left and the right quarter."""
    spoilt, quarter = image.copy(), image.shape[1] // 4
    spoilt[:, :quarter] = 1 - image[:, :quarter]
    spoilt[:, -quarter:] = 1 - image[:, -quarter:]
    return spoilt


def fog(image: Image, generator: np.random.Generator) -> Image:
    """Adds clouds three times as bright as a stroke, and scales back."""
    thickness, brightest = 3.0, float(image.max())
    fog = _plasma(generator, 256, decay=1.4)[: image.shape[0], : image.shape[1]]
    return ((image + thickness * fog) * brightest / (brightest + thickness)).astype(np.float32)


def _plasma(generator: np.random.Generator, size: int, decay: float) -> NDArray[np.float64]:
    """Returns clouds (size, size) in [0, 1] by the diamond-square algorithm, on a torus."""
    clouds, step, wild = np.zeros((size, size)), size, 100.0

    def mean(corners: NDArray[np.float64]) -> NDArray[np.float64]:
        return corners / 4 + wild * generator.uniform(-wild, wild, corners.shape)

    while step > 1:
        half = step // 2
        corners = clouds[::step, ::step]
        sides = corners + np.roll(corners, -1, axis=0)
        clouds[half::step, half::step] = mean(sides + np.roll(sides, -1, axis=1))
        middles = clouds[half::step, half::step]
        above = middles + np.roll(middles, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        clouds[::step, half::step] = mean(above)
        beside = middles + np.roll(middles, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        clouds[half::step, ::step] = mean(beside)
        step, wild = half, wild / decay
    clouds -= clouds.min()
    clouds /= clouds.max()
    return clouds


def spatter(image: Image, generator: np.random.Generator) -> Image:
    """Covers parts with grey mud."""
    drops = _blurred(generator.normal(0.65, 0.3, image.shape).astype(np.float32), 1.0) > 0.65
    mud = _blurred(drops.astype(np.float32), 1.5)
    mud[mud < 0.8] = 0
    return image * (1 - mud) + 63 / 255 * mud


def _stroke(size: tuple[int, int], start: tuple[float, float], end: tuple[float, float]) -> Image:
    """Returns a soft line (H, W) between two points (x, y), start left of end."""
    height, width = size
    x, y = np.arange(width), np.arange(height)[:, None]
    slope = (end[1] - start[1]) / (end[0] - start[0])
    distance = np.abs(y - (slope * (x - start[0]) + start[1])).clip(0, 2.3 - 1e-9)
    line = (np.log(1 - distance / 2.3) + 1).clip(0, 1)
    line[:, : math.floor(start[0])] = 0
    line[:, math.ceil(end[0]) :] = 0
    return line.astype(np.float32)


def dotted_line(image: Image, generator: np.random.Generator) -> Image:
    """Adds a dotted line from the left edge to the right one."""
    height, width = image.shape
    first, last = generator.integers(0, height - 1, 2)
    line = _stroke(image.shape, (0, first), (width - 1, last))
    line[:, np.arange(width) // 2 % 2 == 0] = 0
    return image + line


def zigzag(image: Image, generator: np.random.Generator) -> Image:
    """Adds teeth of 4x4 pixels along a line from left to right."""
    height, width = image.shape
    left, right = 2, width - 3
    first = int(generator.integers(0, height - 1))
    angle = math.atan2(int(generator.integers(-5, 5)), right - left)
    length = (right - left) / math.cos(angle)
    along = np.array([0.0, *np.arange(2, length - 1e-9, 4), length])
    across = np.array([0.0, *(2.0 * (-1) ** np.arange(len(along) - 2)), 0.0])
    x = left + along * math.cos(angle) - across * math.sin(angle)
    y = first + along * math.sin(angle) + across * math.cos(angle)
    for a, b in zip(range(len(x) - 1), range(1, len(x)), strict=True):
        if x[b] > x[a]:
            image = (image + _stroke(image.shape, (x[a], y[a]), (x[b], y[b]))).clip(0, 1)
    return image


def canny_edges(image: Image, _: np.random.Generator) -> Image:
    """Keeps the edges that Canny finds, with the thresholds of scikit-image."""
    smooth = (255 * _blurred(image, 1.0)).round().astype(np.uint8)
    edges = cv2.Canny(smooth, 0.1 * 255, 0.2 * 255, L2gradient=True)
    return np.asarray(edges > 0, np.float32)


def pen(wider: bool) -> Corrupt:
    """Widens or narrows strokes by a pixel on each side."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    change = cv2.dilate if wider else cv2.erode
    return lambda image, _: np.asarray(change(image, cross), np.float32)
