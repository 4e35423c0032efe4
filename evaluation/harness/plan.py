"""From a target and a suite to jobs: which digits, in which shards, with which starting points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.harness.checks import Check
from evaluation.harness.measured import Flags
from evaluation.harness.onnx_network import OnnxNetwork
from evaluation.harness.shard import Job, Judged
from evaluation.harness.suite import Attack, Planned, Suite, full_suite
from evaluation.targets import Target
from model.attacks.budget import margins
from training.data.digits import Digits
from training.export import onnx_graph

# Fixed, so that results do not depend on how many processes there are: some attacks draw for a whole batch.
_SHARD = 100
_BATCH = 200
# A start of a decision-based attack leads by this much, so that no runtime's rounding takes it back.
_CLEAR_LEAD = 1e-3
_AGREEMENT = 1e-5


def plan_suite(
    target: Target, epsilon: float = 0.3, names: Sequence[str] = (), trust_certificates: bool = False
) -> Suite:
    """Returns what to measure of a target: everything that can be, or some attacks by name.

    Raises:
        TrainingError: There is no such attack, or not for this network.
    """
    smooth = target.white_box is not None or hasattr(target.network, "surrogate")
    suite = full_suite(epsilon, len(target.labels), target.white_box is not None, smooth)
    suite = suite.only(names) if names else suite
    return replace(suite, trust_certificates=trust_certificates)


@dataclass(frozen=True)
class Plan:
    """All that one evaluation will do.

    Attributes:
        suite: What is measured.
        digits: On which digits.
        judged: Of which network.
        lead: (N,) the lead of each digit's true class.
        agreement: Whether onnxruntime computes the same logits; None where there is no graph.
    """

    suite: Suite
    digits: Digits
    judged: Judged
    lead: Tensor
    agreement: Check | None

    @classmethod
    def of(cls, target: Target, digits: Digits, suite: Suite) -> "Plan":
        """Asks the network about every digit, on torch and on onnxruntime."""
        pieces = digits.images.split(_BATCH)
        with torch.no_grad():
            logits = torch.cat([target.network(piece) for piece in pieces])
        graph = _graph_of(target)
        agreement = None if graph is None else _agreement(OnnxNetwork(graph)(digits.images), logits)
        usable = graph if agreement is not None and agreement.passed else None
        judged = Judged(target.network, target.white_box, usable)
        return cls(suite, digits, judged, margins(logits, digits.classes), agreement)

    @property
    def right(self) -> Flags:
        """Which digits are classified right, unattacked."""
        flags: Flags = (self.lead > 0).numpy()
        return flags

    def chosen(self, planned: Planned) -> NDArray[np.intp]:
        """Returns the indices of the digits that one measurement is made on, spread evenly."""
        count = len(self.digits)
        asked = count if planned.digits is None else min(planned.digits, count)
        return np.linspace(0, count - 1, asked).round().astype(np.intp)

    def jobs(self, planned: Planned) -> Iterator[Job]:
        """Yields the shards of one measurement, in order."""
        digits, chosen = self.digits, torch.from_numpy(self.chosen(planned))
        starts = None
        if isinstance(planned, Attack) and planned.settings.attack == "boundary":
            starts = self._starts(chosen)
        for first in range(0, len(chosen), _SHARD):
            part = chosen[first : first + _SHARD]
            yield Job(
                planned,
                self.judged,
                first,
                digits.images[part],
                digits.classes[part],
                None if starts is None else starts[first : first + _SHARD],
                self.suite.trust_certificates,
            )

    def _starts(self, chosen: Tensor) -> Tensor | None:
        """Returns for each chosen digit the nearest one that is rightly taken for another class."""
        images, classes = self.digits.images.flatten(1), self.digits.classes
        distance = torch.cdist(images[chosen], images)
        usable = (classes[chosen][:, None] != classes) & (self.lead > _CLEAR_LEAD)
        if not usable.any(dim=1).all():
            return None
        return self.digits.images[distance.where(usable, torch.inf).argmin(dim=1)]


def _graph_of(target: Target) -> bytes | None:
    """Returns the target as an ONNX graph, or None where torch cannot export it."""
    if target.graph is not None:
        return target.graph
    try:
        return onnx_graph(target.network, ("logits",))
    except RuntimeError:
        return None


def _agreement(found: Tensor, expected: Tensor) -> Check:
    """Compares logits, in units of the largest logit where that is above 1."""
    difference = float((found - expected).abs().amax() / expected.abs().amax().clamp(min=1))
    return Check(
        "onnxruntime and torch agree",
        difference <= _AGREEMENT,
        f"logits differ by {difference:.1e} (tolerance {_AGREEMENT:.0e}); without it, torch alone judges",
    )
