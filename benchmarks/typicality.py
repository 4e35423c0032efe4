"""Typicality of the shipped networks: which score tells genuine images from others, and what it costs.

    WHITEBOX_DATA_DIR=... python -m benchmarks.typicality [--test] [NAME/VERSION ...]

Scores are compared on validation images and on others that are no test images; --test judges the chosen
score once, on test images.
Fashion-MNIST is Debian's dataset-fashion-mnist.
"""

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from benchmarks.measuring import ROOT, save, seconds, show
from model.conformal import p_values
from model.network import WhiteBoxNetwork
from model.package import read_package
from model.typicality import TypicalityConfig, TypicalPredictor
from training.data.mnist import load_mnist
from training.export import Predictor, onnx_graph
from training.networks.typicality import FittedTypicality, fit_typicality, inferred

FASHION = Path("/usr/share/datasets/fashion-mnist")
PACKAGES = ("mnist-3v5/2", "mnist-3v5-certified/2", "mnist-10/1", "mnist-10-certified/1")
LEVEL, SOME = 0.01, 2000


def main(arguments: list[str]) -> None:
    """Prints a table a network and writes benchmarks/results/typicality.json."""
    torch.set_num_threads(1)
    test = "--test" in arguments
    names = [name for name in arguments if name != "--test"] or list(PACKAGES)
    save("typicality" if test else "typicality_choice", {name: _study(name, test) for name in names})


def _study(name: str, test: bool) -> list[dict[str, Any]]:
    network = WhiteBoxNetwork.from_package(read_package(ROOT / "artifacts" / name))
    labels, frozen = network.config.labels, network.freeze().eval()
    train, held_out = load_mnist("train", labels), load_mnist("validation", labels)
    kinds = {
        "genuine": load_mnist("test", labels).images if test else held_out.images,
        **_others(labels, test),
    }
    seen = {kind: inferred(frozen, images) for kind, images in kinds.items()}
    rows = []
    for config in _configs(len(labels), test):
        fitted = fit_typicality(frozen, train, held_out, config)
        scores = {kind: fitted.typicality(found).numpy() for kind, found in seen.items()}
        row: dict[str, Any] = {"logit, explained": f"{config.logit_weight}, {config.explained_weight}"}
        for kind, found in scores.items():
            untypical = (p_values(found, fitted.calibration.numpy()) <= LEVEL).mean()
            row[kind] = f"{100 * untypical:.1f}%" + (
                "" if kind == "genuine" else f" ({_auroc(scores['genuine'], found):.3f})"
            )
        row["cost"] = _cost(frozen, fitted, kinds["genuine"].numpy())
        rows.append(row)
    show(f"{name}: untypical at {LEVEL:.0%} (AUROC)", list(rows[0]), [list(row.values()) for row in rows])
    return rows


def _configs(classes: int, test: bool) -> list[TypicalityConfig]:
    prototypes = 500 if classes == 2 else 200
    weights = ((0.5, 0.0), (0.5, 0.5)) if test else ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))
    return [
        TypicalityConfig(prototypes_per_class=prototypes, logit_weight=logit, explained_weight=explained)
        for logit, explained in weights
    ]


def _others(labels: tuple[Any, ...], test: bool) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    file = "t10k" if test else "train"
    content = gzip.decompress((FASHION / f"{file}-images-idx3-ubyte.gz").read_bytes())
    clothes = torch.from_numpy(np.frombuffer(content, np.uint8, offset=16).copy()).view(-1, 1, 28, 28)
    normal = 0.3 * torch.randn(SOME // 2, 1, 28, 28, generator=random)
    others = {
        "noise": torch.rand(SOME // 2, 1, 28, 28, generator=random),
        "normal noise": normal.clamp(0, 1),
        "blank": torch.linspace(0, 1, 21)[:, None, None, None].expand(21, 1, 28, 28),
        "clothes": clothes[: SOME if not test else None].float() / 255,
    }
    if len(labels) == 2:
        digits = load_mnist("test" if test else "train", [d for d in range(10) if d not in labels])
        others["other digits"] = digits.images[torch.randperm(len(digits), generator=random)[: 2 * SOME]]
    return others


def _auroc(genuine: np.ndarray, others: np.ndarray) -> float:
    """Returns how often an image of the others scores higher than a genuine one; ties count half."""
    ordered = np.sort(genuine)
    below = np.searchsorted(ordered, others, "left") + np.searchsorted(ordered, others, "right")
    return float(below.mean() / 2 / len(ordered))


def _cost(frozen: Any, fitted: FittedTypicality, images: np.ndarray) -> str:
    """Returns how much longer predict.onnx takes with the score, for one image and for 16."""
    names = ("logits", "probabilities", "typicality_score")
    size = (images.shape[2], images.shape[3])
    graphs = (
        onnx_graph(Predictor(frozen), names[:2], size),
        onnx_graph(TypicalPredictor(frozen, fitted.typicality), names, size),
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    plain, scored = (ort.InferenceSession(g, options, providers=["CPUExecutionProvider"]) for g in graphs)
    told = []
    for count in (1, 16):
        batch = {"image": images[:count]}
        runs = [lambda s=s, b=batch: s.run(None, b) for s in (plain, scored)]
        without, with_score = (min(seconds(run, 100) for _ in range(5)) for run in runs)
        told.append(f"+{100 * (with_score / without - 1):.0f}%")
    return " ".join(told)


if __name__ == "__main__":
    main(sys.argv[1:])
