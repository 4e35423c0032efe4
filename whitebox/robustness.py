"""Certificates and attacks of a loaded model; imports torch, which a prediction does without."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model.attacks.budget import Budget
from model.attacks.settings import AttackSettings
from model.attacks.single import attack_image
from model.conformal import TypicalWithin, typical_between
from model.network import WhiteBoxNetwork
from model.package import Label, ModelPackage
from model.verification.typicality_bounds import TypicalityBounds
from model.verification.verify import SearchPolicy, Verifier
from whitebox.results import AttackOutcome, Certificate, Prediction


class Robustness:
    """What can be proved and found of one model.

    Args:
        package: The model's.

    Raises:
        PackageError: Its weights are damaged.
    """

    def __init__(self, package: ModelPackage) -> None:
        self._labels: Sequence[Label] = package.labels
        self._verifier = Verifier(WhiteBoxNetwork.from_package(package).freeze())
        self._calibration = package.typicality
        self._typicality = TypicalityBounds.of(self._verifier.bounds, package)

    def certify(
        self,
        original: Prediction,
        label: Label | None,
        epsilon: float,
        policy: SearchPolicy,
        level: float,
    ) -> Certificate:
        """Verifies the ball around the image of a prediction; `Model.certify` describes the rest."""
        true = original.label if label is None else label
        classes = torch.tensor([self._class_of(true)])
        budget = Budget(deadline=time.monotonic() + policy.seconds)
        (result,) = self._verifier.verify(_batch(original), classes, epsilon, policy, budget)
        found = result.counterexample
        return Certificate(
            verdict=result.verdict,
            label=true,
            epsilon=epsilon,
            method=result.method,
            margin_lower_bound=result.margin_lower_bound,
            certified_radius=result.certified_radius,
            counterexample=None if found is None else found[0, 0].numpy(),
            prediction=original,
            typical_within_epsilon=self._typical(original, epsilon, level),
            seconds=result.seconds,
        )

    def _typical(self, original: Prediction, epsilon: float, level: float) -> TypicalWithin | None:
        if self._typicality is None or self._calibration is None:
            return None
        scores = self._typicality.score(_batch(original), epsilon)
        return typical_between(*scores, self._calibration, level)

    def attack(
        self,
        original: Prediction,
        label: Label | None,
        settings: AttackSettings,
        queries: int | None,
        predict: Callable[[NDArray[np.float32]], Prediction],
    ) -> AttackOutcome:
        """Attacks the image of a prediction; `predict` answers for what is found."""
        true = self._class_of(original.label if label is None else label)
        network = self._verifier.network
        found = attack_image(network, _batch(original), true, settings, Budget(queries=queries))
        return AttackOutcome(
            success=found.success,
            original=original,
            adversarial=predict(found.image[0, 0].numpy()),
            linf=found.distance.linf,
            l2=found.distance.l2,
            queries=found.queries,
            stopped_by=found.stopped_by,
        )

    def _class_of(self, label: Label) -> int:
        if label not in self._labels:
            known = ", ".join(str(each) for each in self._labels)
            raise ValueError(f"The model tells {known} apart, not {label!r}.")
        return self._labels.index(label)


def _batch(prediction: Prediction) -> torch.Tensor:
    return torch.from_numpy(prediction.image)[None, None]  # (1, 1, H, W)
