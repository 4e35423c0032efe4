"""From a model and a suite to jobs: which images, in which shards, with which starting points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.evaluated_model import EvaluatedModel
from evaluation.harness.checks import Check
from evaluation.harness.measurements import Flags
from evaluation.harness.onnx_network import OnnxNetwork
from evaluation.harness.shard import Job, ModelBackends, one_thread
from evaluation.harness.suite import Attack, Suite, SuiteEntry, full_suite
from model.attacks.budget import margins
from training.data import Dataset

# Fixed, so that results do not depend on how many processes there are: some attacks draw for a whole batch.
_SHARD = 100
_BATCH = 200
# A start of a decision-based attack leads by this much, so that no runtime's rounding takes it back.
_CLEAR_LEAD = 1e-3
_AGREEMENT = 1e-5


def plan_suite(
    model: EvaluatedModel,
    epsilon: float | None = None,
    names: Sequence[str] = (),
    trust_certificates: bool = False,
) -> Suite:
    """Returns what to measure of a model: everything that can be, or some attacks by name.

    Without an epsilon it is the model's own.

    Raises:
        TrainingError: There is no such attack, or not for this network.
    """
    smooth = model.white_box is not None or hasattr(model.network, "surrogate")
    radius = model.epsilon if epsilon is None else epsilon
    suite = full_suite(radius, len(model.labels), model.white_box is not None, smooth)
    suite = suite.only(names) if names else suite
    return replace(suite, trust_certificates=trust_certificates)


@dataclass(frozen=True)
class Plan:
    """All that one evaluation will do.

    Attributes:
        suite: What is measured.
        dataset: On which images.
        backends: The network.
        lead: (N,) the lead of each image's true class.
        agreement: Whether onnxruntime computes the same logits; None where there is no graph.
    """

    suite: Suite
    dataset: Dataset
    backends: ModelBackends
    lead: Tensor
    agreement: Check | None

    @classmethod
    def of(cls, model: EvaluatedModel, dataset: Dataset, suite: Suite) -> "Plan":
        """Classifies every image, on torch (one thread: the same bits anywhere) and onnxruntime."""
        pieces = dataset.images.split(_BATCH)
        with torch.no_grad(), one_thread():
            logits = torch.cat([model.network(piece) for piece in pieces])
        graph = _graph_of(model, dataset.images)
        agreement = None if graph is None else _agreement(OnnxNetwork(graph)(dataset.images), logits)
        usable = graph if agreement is not None and agreement.passed else None
        backends = ModelBackends(model.network, model.white_box, usable)
        return cls(suite, dataset, backends, margins(logits, dataset.classes), agreement)

    @property
    def correct(self) -> Flags:
        """Which images are classified correctly, unattacked."""
        flags: Flags = (self.lead > 0).numpy()
        return flags

    def chosen(self, entry: SuiteEntry) -> NDArray[np.intp]:
        """Returns the indices of the images that one measurement is made on, spread evenly."""
        count = len(self.dataset)
        asked = count if entry.sample_size is None else min(entry.sample_size, count)
        return np.linspace(0, count - 1, asked).round().astype(np.intp)

    def jobs(self, entry: SuiteEntry) -> Iterator[Job]:
        """Yields the shards of one measurement, in order."""
        dataset, chosen = self.dataset, torch.from_numpy(self.chosen(entry))
        starts = None
        if isinstance(entry, Attack) and entry.settings.attack == "boundary":
            starts = nearest_of_another_class(dataset, self.lead, chosen)
        for first in range(0, len(chosen), _SHARD):
            part = chosen[first : first + _SHARD]
            yield Job(
                entry,
                self.backends,
                first,
                dataset.images[part],
                dataset.classes[part],
                None if starts is None else starts[first : first + _SHARD],
                self.suite.trust_certificates,
            )


def nearest_of_another_class(dataset: Dataset, lead: Tensor, chosen: Tensor) -> Tensor | None:
    """Returns for each chosen image the nearest one that is rightly taken for another class, if all have one.

    Args:
        dataset: All images.
        lead: (N,) the lead of each image's true class.
        chosen: (M,) indices.
    """
    images, classes = dataset.images.flatten(1), dataset.classes
    distance = torch.cdist(images[chosen], images)
    usable = (classes[chosen][:, None] != classes) & (lead > _CLEAR_LEAD)
    if not usable.any(dim=1).all():
        return None
    return dataset.images[distance.where(usable, torch.inf).argmin(dim=1)]


def _graph_of(model: EvaluatedModel, images: Tensor) -> bytes | None:
    """Returns the model as an ONNX graph, or None where torch cannot export it."""
    if model.graph is not None:
        return model.graph
    from training.export import onnx_graph  # noqa: PLC0415 (a package is measured without the extra `train`)

    try:
        return onnx_graph(model.network, ("logits",), (images.shape[2], images.shape[3]))
    except RuntimeError:
        return None


def _agreement(found: Tensor, expected: Tensor) -> Check:
    """Compares logits, in units of the largest logit where that is above 1."""
    difference = float((found - expected).abs().amax() / expected.abs().amax().clamp(min=1))
    return Check(
        "onnxruntime and torch agree",
        difference <= _AGREEMENT,
        f"logits differ by {difference:.1e} (tolerance {_AGREEMENT:.0e}); otherwise only torch is used",
    )
