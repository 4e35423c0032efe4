"""Typicality of the shipped packages: which images are called untypical, and what the score costs.

    WHITEBOX_DATA_DIR=... python -m benchmarks.typicality [--test] [NAME/VERSION ...]

Validation images and others that are no test images; --test takes test images instead, and is run once, when
all is chosen. Fashion-MNIST is Debian's dataset-fashion-mnist.
"""

import gzip
import itertools
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import onnx
import onnx.utils
import onnxruntime as ort
from PIL import Image, ImageDraw, ImageFont

from benchmarks.measuring import ROOT, save, show
from model.package import PREDICT_GRAPH, ModelPackage, read_package
from model.package_directory import newest_package
from service.codecs.preprocessing import HandwrittenDigit, NotADigitError, picture_of
from service.inference.engine import Engine, Images
from training.data.mnist import load_mnist

FASHION = Path("/usr/share/datasets/fashion-mnist")
MODELS = ("mnist-3v5", "mnist-3v5-certified", "mnist-10", "mnist-10-certified")
LEVEL, SOME = 0.01, 2000
# matplotlib brings them; O, S and others that look like a digit are left out.
_FONTS = (
    *("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSansMono.ttf"),
    *("DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf", "STIXGeneral.ttf", "STIXGeneralItalic.ttf"),
    *("cmr10.ttf", "cmss10.ttf", "cmtt10.ttf"),
)
_SIGNS = "ACDEFHJKLMNPQRTUVWXYabdefghjkmnpqrtuvwxy&@#?%+=<>"
_PAIRS = {1: 1000, 16: 100}


def main(arguments: list[str]) -> None:
    """Prints a table and writes benchmarks/results/typicality.json."""
    test = "--test" in arguments
    names = [name for name in arguments if name != "--test"]
    rows = [_row(package, test) for package in chosen_packages(names)]
    show(
        f"Untypical at {LEVEL:.0%} (AUROC)",
        _COLUMNS,
        [[row.get(name, "") for name in _COLUMNS] for row in rows],
    )
    save("typicality" if test else "typicality_validation", {"level": LEVEL, "packages": rows})


def chosen_packages(names: list[str]) -> list[ModelPackage]:
    """Returns the shipped packages of these NAME/VERSION, or the newest of all models that know digits."""
    if names:
        return [read_package(ROOT / "artifacts" / name) for name in names]
    return [newest_package(ROOT / "artifacts", name) for name in MODELS]


_COLUMNS = [
    "model",
    "genuine",
    "noise",
    "normal noise",
    "blank",
    "clothes",
    "letters",
    "other digits",
    "cost",
]


def _row(package: ModelPackage, test: bool) -> dict[str, Any]:
    engine = Engine(package)
    genuine = load_mnist("test" if test else "validation", package.labels).images[:, 0].numpy()
    found = {kind: engine.predict(images).p_values for kind, images in _others(package, test).items()}
    own = engine.predict(genuine).p_values
    row: dict[str, Any] = {"model": f"{package.name}/{package.version}", "genuine": _share(own)}
    for kind, values in found.items():
        row[kind] = f"{_share(values)} ({_auroc(own, values):.3f})"
    row["cost"] = " ".join(_cost(package, genuine[:count]) for count in _PAIRS)
    return row


def _share(p_values: np.ndarray) -> str:
    return f"{100 * (p_values <= LEVEL).mean():.1f}%"


def _others(package: ModelPackage, test: bool) -> dict[str, Images]:
    random = np.random.default_rng(1)
    others = {
        "noise": random.random((SOME, 28, 28), np.float32),
        "normal noise": (0.3 * random.standard_normal((SOME, 28, 28), np.float32)).clip(0, 1),
        "blank": np.linspace(0, 1, 101, dtype=np.float32)[:, None, None] * np.ones((1, 28, 28), np.float32),
        "clothes": clothes("t10k") if test else clothes("train")[:SOME],
        "letters": letters(),
    }
    if len(package.labels) == 2:
        unknown = [digit for digit in range(10) if digit not in package.labels]
        digits = load_mnist("test" if test else "train", unknown).images[:, 0].numpy()
        others["other digits"] = digits if test else digits[random.permutation(len(digits))[: 2 * SOME]]
    return others


def clothes(file: str) -> Images:
    """Returns Fashion-MNIST's images (N, 28, 28) in [0, 1] of a file, "train" or "t10k"."""
    content = gzip.decompress((FASHION / f"{file}-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28).astype(np.float32) / np.float32(
        255
    )


def letters() -> Images:
    """Returns printed letters and signs that are no digits, as the service brings files of them into form."""
    fonts, form = Path(matplotlib.get_data_path(), "fonts", "ttf"), HandwrittenDigit(28, 28, box=20)
    found = []
    for name, sign in itertools.product(_FONTS, _SIGNS):
        page = Image.new("L", (160, 160), 255)
        ImageDraw.Draw(page).text((40, 30), sign, 0, font=ImageFont.truetype(fonts / name, 80))
        with suppress(NotADigitError):  # a sign of two parts is refused, and not answered
            found.append(form.one(picture_of(page)).pixels)
    return np.stack(found)


def _auroc(genuine: np.ndarray, others: np.ndarray) -> float:
    """Returns how often an image of the others is less typical than a genuine one; ties count half."""
    ordered = np.sort(genuine)
    below = np.searchsorted(ordered, others, "left") + np.searchsorted(ordered, others, "right")
    return float(1 - below.mean() / 2 / len(ordered))


def _cost(package: ModelPackage, images: Images) -> str:
    """Returns how much longer predict.onnx takes than without the score, the median of pairs."""
    whole = package.read(PREDICT_GRAPH)
    extractor = onnx.utils.Extractor(onnx.load_from_string(whole))
    without = extractor.extract_model(["image"], ["logits", "probabilities"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [
        ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for content in (without.SerializeToString(), whole)
    ]
    ratios = []
    for pair in range(_PAIRS[len(images)]):
        spent = [0.0, 0.0]
        for index in (0, 1) if pair % 2 else (1, 0):
            sessions[index].run(None, {"image": images[:, None]})  # the other one's weights leave the cache
            started = time.perf_counter()
            sessions[index].run(None, {"image": images[:, None]})
            spent[index] = time.perf_counter() - started
        ratios.append(spent[1] / spent[0])
    return f"{100 * (float(np.median(ratios)) - 1):+.0f}%"


if __name__ == "__main__":
    main(sys.argv[1:])
