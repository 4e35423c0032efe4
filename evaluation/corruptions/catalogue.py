"""The catalogue: the fifteen corruptions of MNIST-C at its severities, and further ones."""

import math
import zlib
from dataclasses import dataclass

import numpy as np

from evaluation.corruptions import transforms as t
from evaluation.corruptions.transforms import Corrupt, Image


@dataclass(frozen=True)
class Corruption:
    """One way to spoil an image that a person still reads.

    Attributes:
        name: In cards and tables; those of MNIST-C have its names.
        setting: How strong it is, in words.
        apply: What it does to one image.
    """

    name: str
    setting: str
    apply: Corrupt

    def corrupt(self, images: Image, seed: int = 0) -> Image:
        """Returns spoilt copies of images (N, H, W): the same for the same seed, whatever else is spoilt."""
        generator = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        spoilt = np.stack([self.apply(image, generator) for image in images])
        return spoilt.clip(0, 1).astype(np.float32)


MNIST_C = (
    Corruption("shot_noise", "Poisson, 3 photons a pixel", t.shot_noise),
    Corruption("impulse_noise", "salt and pepper on 17% of the pixels", t.salt_and_pepper(0.17)),
    Corruption("glass_blur", "sigma 0.7, twice, neighbours swapped between", t.glass_blur),
    Corruption("motion_blur", "sigma 3 pixels, to one side", t.motion_blur),
    Corruption("shear", "by 0.4", t.sheared(0.4)),
    Corruption("scale", "to 70%", t.scaled(0.7)),
    Corruption("rotate", "by 0.4 radians", t.rotated(0.4)),
    Corruption("brightness", "0.5 brighter", t.brighter(0.5)),
    Corruption("translate", "3 pixels along both axes", t.translated(3)),
    Corruption("stripe", "a quarter at each side inverted", t.stripe),
    Corruption("fog", "clouds three times as bright as strokes", t.fog),
    Corruption("spatter", "mud", t.spatter),
    Corruption("dotted_line", "from left to right", t.dotted_line),
    Corruption("zigzag", "from left to right", t.zigzag),
    Corruption("canny_edges", "edges only", t.canny_edges),
)
FURTHER = (
    Corruption("salt_and_pepper_5", "on 5% of the pixels", t.salt_and_pepper(0.05)),
    Corruption("salt_and_pepper_10", "on 10% of the pixels", t.salt_and_pepper(0.1)),
    Corruption("gaussian_blur_1", "sigma 1", t.gaussian_blur(1.0)),
    Corruption("gaussian_blur_1.5", "sigma 1.5", t.gaussian_blur(1.5)),
    Corruption("shift_1", "1 pixel along one axis", t.shifted(1)),
    Corruption("shift_2", "2 pixels along one axis", t.shifted(2)),
    Corruption("shift_3", "3 pixels along one axis", t.shifted(3)),
    Corruption("rotate_10", "by 10 degrees", t.rotated(math.radians(10))),
    Corruption("rotate_20", "by 20 degrees", t.rotated(math.radians(20))),
    Corruption("wide_pen", "strokes 2 pixels wider", t.pen(wider=True)),
    Corruption("fine_pen", "strokes 2 pixels narrower", t.pen(wider=False)),
)
CORRUPTIONS = (*MNIST_C, *FURTHER)
