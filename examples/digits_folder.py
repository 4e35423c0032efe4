"""Writes scikit-learn's 1,797 handwritten digits of 8x8 pixels as a folder of PNG files, a subfolder a digit.

    python examples/digits_folder.py digits

A small stand-in for images of your own, under 1 MB: `whitebox train --data digits`.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main(folder: Path) -> None:
    """Writes FOLDER/DIGIT/NUMBER.png."""
    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image / 16 * 255).round().astype(np.uint8)).save(path)
    print(f"{len(digits.images)} digits are in {folder}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
