"""How often the verifier proves that images stay typical or untypical, and what attacks on typicality reach.

    WHITEBOX_DATA_DIR=... python -m benchmarks.typicality_proofs [NAME/VERSION ...]

Of random test digits, of Fashion-MNIST's test images (Debian's dataset-fashion-mnist) and, for models of two
digits, of the other digits. The attack is PGD on the score itself, which knows everything: it makes genuine
images untypical and strange ones typical. It never may where the contrary is proved.
"""

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import save, show
from benchmarks.typicality import chosen_packages, clothes
from model.conformal import p_values, typical_between
from model.frozen import FrozenNetwork
from model.network import WhiteBoxNetwork
from model.package import ModelPackage
from model.typicality import Typicality
from model.verification.interval_bounds import IntervalBounds
from model.verification.typicality_bounds import TypicalityBounds
from training.data.mnist import load_mnist

LEVEL, SOME, EPSILONS, STEPS = 0.01, 300, (0.05, 0.1, 0.3), 40
_COLUMNS = ["model", "images", "epsilon", "untypical", "proved", "attacked", "ms an image"]


@dataclass(frozen=True)
class Scored:
    """A model, its typicality score in torch, and the score's bounds."""

    package: ModelPackage
    network: FrozenNetwork
    typicality: Typicality
    bounds: TypicalityBounds

    @classmethod
    def of(cls, package: ModelPackage) -> "Scored":
        """Loads a package that has prototypes."""
        network = WhiteBoxNetwork.from_package(package).freeze()
        typicality = Typicality.from_package(package)
        bounds = TypicalityBounds.of(IntervalBounds.of(network), package)
        assert typicality is not None
        assert bounds is not None
        return cls(package, network, typicality, bounds)

    def scores(self, images: Tensor) -> Tensor:
        """Returns the scores (N,) of images (N, 1, H, W); what is no number is most unusual."""
        found = [self.typicality(self.network.expanded.infer(some)) for some in images.split(50)]
        return torch.cat(found).nan_to_num(torch.finfo(torch.float32).max)

    def typical(self, images: Tensor) -> np.ndarray:
        """Tells which images are typical: (N,)."""
        known = self.package.typicality
        assert known is not None
        with torch.no_grad():
            return p_values(self.scores(images).numpy(), known.calibration, known.shift) > LEVEL

    def proved(self, image: Tensor, epsilon: float) -> str:
        """Tells whether every image within epsilon of one (1, 1, H, W) is typical, or none."""
        known = self.package.typicality
        assert known is not None
        return typical_between(*self.bounds.score(image, epsilon), known, LEVEL)

    def attacked(self, images: Tensor, epsilon: float, to_untypical: bool) -> Tensor:
        """Returns the images within epsilon with the largest score, or smallest, that PGD finds."""
        sign = 1 if to_untypical else -1
        found, best = images.clone(), images.clone()
        highest = sign * self.scores(images).detach()
        for _ in range(STEPS):
            found = found.detach().requires_grad_()
            scores = sign * self.scores(found)
            (gradient,) = torch.autograd.grad(scores.sum(), found)
            better = scores.detach() > highest
            best = torch.where(better[:, None, None, None], found.detach(), best)
            highest = torch.maximum(highest, scores.detach())
            change = (found.detach() + epsilon / 4 * gradient.sign() - images).clamp(-epsilon, epsilon)
            found = (images + change).clamp(0, 1)
        return best


def main(names: list[str]) -> None:
    """Prints a table and writes benchmarks/results/typicality_proofs.json."""
    torch.set_num_threads(1)
    rows = []
    for scored in map(Scored.of, chosen_packages(names)):
        for kind, images in _images(scored.package).items():
            rows += [_row(scored, kind, images, epsilon) for epsilon in EPSILONS]
    table = [[row[name] for name in _COLUMNS] for row in rows]
    show(f"Stays typical, or untypical, at level {LEVEL:.0%}: {SOME} images each", _COLUMNS, table)
    save("typicality_proofs", {"level": LEVEL, "images": SOME, "steps": STEPS, "rows": rows})


def _images(package: ModelPackage) -> dict[str, Tensor]:
    random = np.random.default_rng(0)
    found = {
        "genuine": load_mnist("test", package.labels).images,
        "clothes": torch.from_numpy(clothes("t10k"))[:, None],
    }
    if len(package.labels) == 2:
        others = [digit for digit in range(10) if digit not in package.labels]
        found["other digits"] = load_mnist("test", others).images
    return {kind: images[random.choice(len(images), SOME, replace=False)] for kind, images in found.items()}


def _row(scored: Scored, kind: str, images: Tensor, epsilon: float) -> dict[str, Any]:
    genuine = kind == "genuine"
    started = time.perf_counter()
    proved = np.array([scored.proved(image, epsilon) for image in images[:, None]])
    milliseconds = 1000 * (time.perf_counter() - started) / len(images)
    typical = scored.typical(images)
    after = scored.typical(scored.attacked(images, epsilon, to_untypical=genuine))
    assert after[proved == "always"].all(), "a proof is broken"
    assert not after[proved == "never"].any(), "a proof is broken"
    return {
        "model": f"{scored.package.name}/{scored.package.version}",
        "images": kind,
        "epsilon": epsilon,
        "untypical": float((~typical).mean()),
        "proved": float((proved == ("always" if genuine else "never")).mean()),
        "attacked": float((~after).mean()),
        "ms an image": milliseconds,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
