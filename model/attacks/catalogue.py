"""Which attacks there are. A server reads this without torch: attacks are imported as they run."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from model.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from model.attacks.registry import Target
    from model.attacks.settings import AttackSettings

    Runner = Callable[[Target, AttackSettings], Tensor]


@dataclass(frozen=True)
class AttackKind:
    """An attack as it is written, before it is set for one use.

    Attributes:
        name: What requests and commands call it.
        run: Takes a target and settings and returns its best attempt (N, 1, H, W) for each image. It may
            leave the ball: the caller projects, and judges the result anew.
        steps: Iterations unless the settings say otherwise.
        minimum_norm: Whether it minimises the distance; epsilon then only decides whether it succeeded.
        white_box_only: Whether it looks inside, at `Target.white_box`.
        scaled_logits: Whether it follows a gradient that vanishes where a network is very confident. The
            evaluation then scales the logits (`model.attacks.unsaturated`).
    """

    name: str
    run: "Runner"
    steps: int
    minimum_norm: bool = False
    white_box_only: bool = False
    scaled_logits: bool = False


def _runner(function: str) -> "Runner":
    def run(target: "Target", settings: "AttackSettings") -> "Tensor":
        found: Tensor = getattr(import_module("model.attacks.registry"), function)(target, settings)
        return found

    return run


ATTACKS: Registry[AttackKind] = Registry(
    "attack",
    "a model.attacks.catalogue.AttackKind",
    lambda value: isinstance(value, AttackKind),
    lambda attack: attack.name,
    # The default steps are the papers' or the libraries' own.
    own=(
        AttackKind("fgsm", _runner("fgsm"), 1, scaled_logits=True),
        AttackKind("pgd", _runner("pgd"), 40, scaled_logits=True),
        AttackKind("apgd", _runner("apgd"), 100, scaled_logits=True),
        AttackKind("fab", _runner("fab"), 100, minimum_norm=True, scaled_logits=True),
        AttackKind("square", _runner("square"), 5000),
        AttackKind("boundary", _runner("boundary"), 5000, minimum_norm=True),
        AttackKind("hopskipjump", _runner("hopskipjump"), 32, minimum_norm=True),
        AttackKind("deepfool", _runner("deepfool"), 50, minimum_norm=True),
        AttackKind("auto", _runner("auto"), 100),
        AttackKind("apgd-t", _runner("apgd_targeted"), 100, scaled_logits=True),
        AttackKind("bpda", _runner("bpda"), 100),
        AttackKind("movable", _runner("movable"), 60, white_box_only=True),
    ),
)
