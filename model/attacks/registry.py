"""The attacks of the catalogue. Each takes a model and a batch of images and returns its best attempts.

fgsm, pgd, deepfool, boundary and hopskipjump are foolbox's; apgd, apgd-t, fab and square pyautoattack's.
`auto` is AutoAttack: its members are `AUTOATTACK`. apgd-t, bpda and movable are for evaluation only: they
need many classes or access to the layers. So are `fmn_l0` and `pointwise`, in another norm.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from eagerpy.astensor import astensor
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

# foolbox imports GitPython, which refuses to be imported where there is no git unless told not to look.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import foolbox

from model.attacks.bpda import SmoothSurrogate
from model.attacks.catalogue import ATTACKS
from model.attacks.movable import move
from model.attacks.settings import AttackSettings
from model.frozen import FrozenNetwork

# The members of AutoAttack (Croce & Hein 2020) in their order: APGD-CE, targeted APGD-DLR, FAB-T and Square.
AUTOATTACK: tuple[str, ...] = ("apgd", "apgd-t", "fab", "square")
# The targeted DLR loss compares the logits of four classes.
CLASSES_FOR_TARGETED_DLR = 4
# Temperatures of the surrogate, one a restart: lower ones follow the network, higher ones smooth more.
_TEMPERATURES = (0.01, 0.03)

Starts = Callable[[Tensor, Tensor], Tensor | None]
"""Returns a misclassified image for each image and class, or None; decision-based attacks start there."""


@dataclass(frozen=True)
class Target:
    """The model and images under attack.

    Attributes:
        model: Maps (N, 1, H, W) to logits (N, classes).
        images: (N, 1, H, W) in [0, 1].
        classes: (N,) the true class indices.
        starts: Starting points for the decision-based attacks.
        white_box: The same network, for attacks that use its layers, if it is a white box.
    """

    model: nn.Module
    images: Tensor
    classes: Tensor
    starts: Starts = lambda _images, _classes: None
    white_box: FrozenNetwork | None = None

    def is_correct(self, images: Tensor) -> Tensor:
        """Tells for each of `images` (N, 1, H, W) whether it is classified correctly: (N,)."""
        with torch.no_grad():
            right: Tensor = self.model(images).argmax(dim=1) == self.classes
        return right

    def select(self, chosen: Tensor) -> "Target":
        """Returns the target with the chosen images only."""
        return replace(self, images=self.images[chosen], classes=self.classes[chosen])

    def all_tied(self) -> bool:
        """Tells whether the two largest logits of every image are equal."""
        with torch.no_grad():
            best = self.model(self.images).topk(2).values
        return bool((best[:, 0] == best[:, 1]).all())

    def other_classes(self) -> int:
        """Returns the number of wrong classes."""
        with torch.no_grad():
            return int(self.model(self.images[:1]).shape[1]) - 1


def run(target: Target, settings: AttackSettings) -> Tensor:
    """Attacks a batch and returns its best attempt for each image.

    Minimum-norm attacks may return an image outside the ball, and an attack that fails may return anything:
    the caller checks. Seeds torch's global generator.
    """
    torch.manual_seed(settings.seed)
    return ATTACKS[settings.attack].run(target, settings)


def fgsm(target: Target, settings: AttackSettings) -> Tensor:
    """Returns x + epsilon * sign(grad CE), Goodfellow 2015; l2: along the normalised gradient."""
    kinds = {
        "linf": foolbox.attacks.LinfFastGradientAttack,
        "l2": foolbox.attacks.L2FastGradientAttack,
    }
    return _foolbox(kinds[settings.norm](), target, epsilon=settings.epsilon)


def pgd(target: Target, settings: AttackSettings) -> Tensor:
    """Repeats x <- project(x + step * sign(grad CE)) from random starts, Madry 2018."""
    kinds = {
        "linf": foolbox.attacks.LinfProjectedGradientDescentAttack,
        "l2": foolbox.attacks.L2ProjectedGradientDescentAttack,
    }
    attack = kinds[settings.norm](
        abs_stepsize=settings.effective_step_size, steps=settings.effective_steps, random_start=True
    )
    best = _foolbox(attack, target, epsilon=settings.epsilon)
    for _ in range(settings.restarts - 1):
        robust = target.is_correct(best)
        if not robust.any():
            break
        best[robust] = _foolbox(attack, target.select(robust), epsilon=settings.epsilon)
    return best


def deepfool(target: Target, settings: AttackSettings) -> Tensor:
    """Steps to the nearest linearised decision boundary, Moosavi-Dezfooli 2016."""
    kinds = {"linf": foolbox.attacks.LinfDeepFoolAttack, "l2": foolbox.attacks.L2DeepFoolAttack}
    attack = kinds[settings.norm](steps=settings.effective_steps, candidates=None)
    return _foolbox(attack, target)


def boundary(target: Target, settings: AttackSettings) -> Tensor:
    """A random walk along the decision boundary towards the image, Brendel 2018; decisions only."""
    attack = foolbox.attacks.BoundaryAttack(steps=settings.effective_steps)
    return _from_starts(attack, target)


def hopskipjump(target: Target, settings: AttackSettings) -> Tensor:
    """Estimates the boundary's normal from decisions, Chen 2020."""
    attack = foolbox.attacks.HopSkipJumpAttack(steps=settings.effective_steps, constraint=settings.norm)
    return _from_starts(attack, target)


def fmn_l0(target: Target, starts: Tensor) -> Tensor:
    """Lets few pixels change, along the gradient, from misclassified images on (FMN, Pintor 2021)."""
    points = astensor(starts)  # foolbox 3.3.4 forgets to, here alone
    return _foolbox(_FmnL0(), target, starting_points=points)


class _FmnL0(foolbox.attacks.L0FMNAttack):  # type: ignore[misc]
    """Foolbox's, which fails where all pixels may change: where gradients vanish it comes to that (3.3.4)."""

    def project(self, x: Any, x0: Any, epsilon: Any) -> Any:  # noqa: ANN401
        fewer = x.flatten(start=1).shape[1] - 1
        return super().project(x, x0, epsilon.minimum(fewer))


def pointwise(target: Target, starts: Tensor) -> Tensor:
    """Takes back pixel after pixel of misclassified images, which stay so (Schott 2019); decisions only."""
    attack = foolbox.attacks.PointwiseAttack(l2_binary_search=False)
    return _foolbox(attack, target, starting_points=starts)


def _from_starts(attack: Any, target: Target) -> Tensor:  # noqa: ANN401
    points = target.starts(target.images, target.classes)
    return target.images if points is None else _foolbox(attack, target, starting_points=points)


def _foolbox(attack: Any, target: Target, **arguments: Any) -> Tensor:  # noqa: ANN401
    bounded = foolbox.PyTorchModel(target.model.eval(), bounds=(0, 1), device="cpu")
    criterion = foolbox.criteria.Misclassification(target.classes)
    result: Tensor = attack.run(bounded, target.images, criterion, **arguments)
    return result.detach()


def apgd(target: Target, settings: AttackSettings) -> Tensor:
    """PGD with momentum and a step size that halves when progress stalls, on CE (Croce & Hein 2020)."""
    attack = APGDAttack(
        target.model, n_iter=settings.effective_steps, n_restarts=settings.restarts, **_common(settings)
    )
    return _perturb(attack, target)


def apgd_targeted(target: Target, settings: AttackSettings) -> Tensor:
    """APGD on the targeted DLR loss; needs at least four classes."""
    attack = APGDAttack_targeted(
        target.model,
        n_iter=settings.effective_steps,
        n_target_classes=target.other_classes(),
        **_common(settings),
    )
    return _perturb(attack, target)


def bpda(target: Target, settings: AttackSettings) -> Tensor:
    """APGD-CE with the gradient of a smooth surrogate, each restart with another temperature."""
    best = target.images.clone()
    for restart in range(settings.restarts):
        robust = target.is_correct(best)
        if not robust.any():
            break
        temperature = _TEMPERATURES[restart % len(_TEMPERATURES)]
        left = replace(target.select(robust), model=surrogate(target, temperature))
        best[robust] = apgd(left, replace(settings, restarts=1, seed=settings.seed + restart))
    return best


def surrogate(target: Target, temperature: float) -> nn.Module:
    """Returns a module with the target's forward pass and a smoother backward pass.

    For a white box it is a `SmoothSurrogate`; any other model may have a method `surrogate(temperature)`.
    """
    if target.white_box is not None:
        return SmoothSurrogate(target.white_box, temperature)
    if not hasattr(target.model, "surrogate"):
        raise ValueError("bpda needs a white box or a model with a method surrogate(temperature)")
    smooth: nn.Module = target.model.surrogate(temperature)  # type: ignore[operator]
    return smooth


def movable(target: Target, settings: AttackSettings) -> Tensor:
    """Searches over the two-step values of the movable pixels; see movable.py."""
    if target.white_box is None:
        raise ValueError("movable attacks white boxes only")
    chosen = settings.effective_steps, settings.restarts
    return move(target.white_box, target.images, target.classes, settings.epsilon, *chosen)


def fab(target: Target, settings: AttackSettings) -> Tensor:
    """Minimum-norm attack towards each other class, linearised at each step (Croce & Hein 2020)."""
    attack = FABAttack_PT(
        target.model,
        n_iter=settings.effective_steps,
        n_restarts=settings.restarts,
        targeted=True,
        n_target_classes=target.other_classes(),
        **_common(settings),
    )
    return _perturb(attack, target)


def square(target: Target, settings: AttackSettings) -> Tensor:
    """Random search with squares on the margin, no gradients (Andriushchenko 2020)."""
    if target.all_tied():  # pyautoattack's l2 form fails when nothing but exact ties is left
        return target.images
    attack = SquareAttack(
        target.model,
        n_queries=settings.effective_steps,
        n_restarts=settings.restarts,
        resc_schedule=False,
        **_common(settings),
    )
    return _perturb(attack, target)


def autoattack_members(classes: int) -> tuple[str, ...]:
    """Returns the attacks that make up AutoAttack for so many classes."""
    many = classes >= CLASSES_FOR_TARGETED_DLR
    return tuple(name for name in AUTOATTACK if many or name != "apgd-t")


def auto(target: Target, settings: AttackSettings) -> Tensor:
    """Each member of AutoAttack on the images that are still classified correctly."""
    best = target.images.clone()
    for name in autoattack_members(target.other_classes() + 1):
        robust = target.is_correct(best)
        if not robust.any():
            break
        steps = None if name == "square" else settings.steps
        left = target.select(robust)
        found = ATTACKS[name].run(left, replace(settings, attack=name, steps=steps))
        fooled = ~left.is_correct(found)
        best[robust.nonzero()[fooled][:, 0]] = found[fooled]
    return best


def _common(settings: AttackSettings) -> dict[str, Any]:
    norm = {"linf": "Linf", "l2": "L2"}[settings.norm]
    return {"norm": norm, "eps": settings.epsilon, "seed": settings.seed, "device": "cpu"}


def _perturb(attack: Any, target: Target) -> Tensor:  # noqa: ANN401
    found: Tensor = attack.perturb(target.images.clone(), target.classes)
    return found.detach()
