"""How unusual an image is, from what the network computes anyway."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn

from model.frozen import Inference
from model.package import PROTOTYPES, ModelPackage, PackageError

# Of all prototypes of a package: 32 MB where they are bounded.
_MOST_VALUES = 2**22
# A direction's norm is 1, up to this.
_PRECISION = 1e-3


@dataclass(frozen=True)
class TypicalityConfig:
    """What a typicality score is made of.

    Attributes:
        cells: The bright map is compared as the means of about so many squares along its shorter side.
        most_prototypes: Of all classes together.
        most_prototypes_per_class: Of the training images, by Lloyd's algorithm.
        copies: Of each training image: itself, and others a little turned, scaled, sheared and shifted.
        margin_weight: Of the margin beside the similarity; with 1, both spread equally.
        ink_weight: Of the amount of ink, likewise.
        shift: Images are to be called untypical as seldom as promised even if unusual ones are so many
            times more frequent among them than among the held-out ones.
    """

    cells: int = 9
    most_prototypes: int = 1000
    most_prototypes_per_class: int = 200
    copies: int = 4
    margin_weight: float = 0.8
    ink_weight: float = 0.6
    shift: float = 1.5

    def pooling(self, size: tuple[int, int]) -> int:
        """Returns how far the squares of an image of this height and width are apart."""
        return max(1, min(size) // self.cells)


class Weights(NamedTuple):
    """What the terms of the score count beside the margin."""

    similarity: float
    ink: float


class Terms(NamedTuple):
    """What the score is made of, each (N,)."""

    similarity: Tensor
    margin: Tensor
    ink: Tensor


class Typicality(nn.Module):
    """The typicality score, from the bright map and the logits.

    An image is typical if its pooled bright map v points where a prototype q (of norm 1) does, if one of the
    logits l stands out, and if it is not full of ink:

        score = w2 * ||v|| - w1 * max over q of <q, v> / ||v|| - (max over classes of l - mean of l).

    An empty bright map has no direction, and no number as its score.

    Args:
        prototypes: (M, h * w), each of norm 1.
        weights: w1 and w2.
        pooling: How far the squares whose means v holds are apart.
    """

    def __init__(self, prototypes: Tensor, weights: Weights, pooling: int) -> None:
        super().__init__()
        self.register_buffer("weighted_prototypes", weights.similarity * prototypes.detach())
        self.weighted_prototypes: Tensor
        self.weights, self.pooling = weights, pooling

    @classmethod
    def from_package(cls, package: ModelPackage) -> "Typicality | None":
        """Returns what a package's scores are made of; None if it does not say.

        Older packages do not: their score is another one (docs/decisions/0024).

        Raises:
            PackageError: Its prototypes are damaged, or not those of such a score.
        """
        if package.typicality is None or PROTOTYPES not in package.manifest.files:
            return None
        content = package.read(PROTOTYPES)
        try:
            tensors = load(content)
            if tensors.keys() == {"prototypes"}:
                return None
            prototypes = tensors["directions"].float()  # (M, h, w)
            pooling = (package.height - 1) // prototypes.shape[1]
            _check(prototypes, package, pooling)
        except Exception as error:  # safetensors and torch raise many kinds
            first = str(error).partition("\n")[0][:200]
            raise PackageError(
                f"{package.directory / PROTOTYPES} is not of the manifest's score: {first}"
            ) from error
        weights = package.typicality.weights
        return cls(prototypes.flatten(1), Weights(weights.similarity, weights.ink), pooling)

    def to_bytes(self, size: tuple[int, int]) -> bytes:
        """Returns the file `PROTOTYPES` for images of this height and width."""
        prototypes = self.weighted_prototypes / self.weights.similarity
        return save({"directions": prototypes.unflatten(1, pooled_size(size, self.pooling)).contiguous()})

    def forward(self, inferred: Inference) -> Tensor:
        """Returns scores (N,), larger for less typical images."""
        terms = self.terms(inferred)
        return self.weights.ink * terms.ink - terms.similarity - terms.margin

    def terms(self, inferred: Inference) -> Terms:
        """Returns what the score is made of; the similarity is weighted."""
        pooled = pooled_maps(inferred.bright, self.pooling)  # (N, h * w)
        ink = torch.linalg.vector_norm(pooled, dim=1)
        nearest = (pooled @ self.weighted_prototypes.T).amax(dim=1)
        margin = inferred.logits.amax(dim=1) - inferred.logits.mean(dim=1)
        return Terms(nearest / ink, margin, ink)


def pooled_maps(bright: Tensor, pooling: int) -> Tensor:
    """Returns the means of squares that overlap by a pixel, of bright maps (N, 1, H, W): (N, h * w)."""
    return F.avg_pool2d(bright, pooling + 1, stride=pooling).flatten(1)


def pooled_size(size: tuple[int, int], pooling: int) -> tuple[int, int]:
    """Returns how many such squares there are from top to bottom and across, given height and width."""
    height, width = ((side - 1) // pooling for side in size)
    return height, width


def _check(prototypes: Tensor, package: ModelPackage, pooling: int) -> None:
    """Refuses what is no set of directions of pooled bright maps, which are nowhere negative."""
    count, height, width = prototypes.shape
    if (height, width) != pooled_size((package.height, package.width), pooling):
        raise ValueError(f"maps of {height} x {width} are not of such images")
    if (
        package.typicality is None
        or count != package.typicality.prototypes
        or count * height * width > _MOST_VALUES
    ):
        raise ValueError(f"there are {count} of them")
    norms = prototypes.flatten(1).norm(dim=1)
    if not bool((prototypes >= 0).all()) or not bool(((norms - 1).abs() < _PRECISION).all()):
        raise ValueError("they are no directions")
