"""Accuracy on spoilt images."""

from typing import Any

import torch
from torch import Tensor

from evaluation.corruptions.catalogue import CORRUPTIONS, MNIST_C
from evaluation.evaluated_model import EvaluatedModel
from training.data import Dataset
from training.objectives import count_correct

SAMPLE = 1000


def accuracy_under_corruptions(
    model: EvaluatedModel, dataset: Dataset, sample: int = SAMPLE, seed: int = 0
) -> dict[str, Any]:
    """Returns what a card says of spoilt images.

    Args:
        model: The network.
        dataset: The images.
        sample: How many of them are drawn, the same ones for the same seed.
        seed: Of the draw and of every corruption.
    """
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:sample]
    images, classes = dataset.images[chosen], dataset.classes[chosen]

    def share(spoilt: Tensor) -> float:
        return round(count_correct(model.network, spoilt, classes) / len(classes), 6)

    accuracies = {
        one.name: share(torch.from_numpy(one.corrupt(images[:, 0].numpy(), seed))[:, None])
        for one in CORRUPTIONS
    }
    return {
        "count": len(classes),
        "seed": seed,
        "clean": share(images),
        "mnist_c_mean": round(sum(accuracies[one.name] for one in MNIST_C) / len(MNIST_C), 6),
        "rows": [
            {"name": one.name, "setting": one.setting, "accuracy": accuracies[one.name]}
            for one in CORRUPTIONS
        ],
    }
