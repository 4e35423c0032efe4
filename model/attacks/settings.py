"""The settings of an attack; without torch, so that a server can validate them before queueing."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from model.attacks.catalogue import ATTACKS

# What POST /v1/attack offers; the others need many classes or access to the layers, or are a plugin's.
AttackName = Literal["fgsm", "pgd", "apgd", "fab", "square", "boundary", "hopskipjump", "deepfool", "auto"]
Norm = Literal["linf", "l2"]

SERVED_ATTACKS: tuple[AttackName, ...] = get_args(AttackName)
NORMS: tuple[Norm, ...] = get_args(Norm)


@dataclass(frozen=True)
class AttackSettings:
    """The settings of one attack.

    Attributes:
        attack: Its name in the catalogue.
        norm: The ball's norm.
        epsilon: The ball's radius, in units of the image's range [0, 1] (per pixel for linf).
        steps: Iterations; for square, queries. Default: as the catalogue has it.
        restarts: Runs from different random starts, for the attacks that have one.
        step_size: Step size of PGD; a third of epsilon by default, as in the paper.
        seed: Seed of all randomness.
    """

    attack: str
    norm: Norm
    epsilon: float
    steps: int | None = None
    restarts: int = 1
    step_size: float | None = None
    seed: int = 0

    @property
    def effective_steps(self) -> int:
        """The number of steps, default included."""
        return ATTACKS[self.attack].steps if self.steps is None else self.steps

    @property
    def effective_step_size(self) -> float:
        """PGD's step size, default included."""
        return round(self.epsilon / 3, 6) if self.step_size is None else self.step_size

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain JSON values, defaults filled in."""
        filled: dict[str, Any] = {"steps": self.effective_steps}
        if self.attack == "pgd":
            filled["step_size"] = self.effective_step_size
        return {k: v for k, v in {**asdict(self), **filled}.items() if v is not None}
