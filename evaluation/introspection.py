"""What is inside a white-box network, as plain numbers that figures are drawn from.

    whitebox inside artifacts/mnist-3v5/6 --out docs/results/cards/mnist-3v5.inside.json

The learned numbers are all there (bases, poses, rows); with them, what each layer makes of some digits,
the smallest change of each of these digits that the Boundary attack finds, and images that fall within
epsilon.
"""

import math
from typing import Any

import torch
from torch import Tensor

from model.attacks import registry
from model.attacks.ball import distance
from model.attacks.catalogue import ATTACKS
from model.attacks.settings import AttackSettings
from model.frozen import FrozenNetwork, Trace
from model.layers.multi_step import MultiStepLayer
from model.layers.two_step import TwoStepLayer, two_step
from model.network import WhiteBoxNetwork
from model.package import Label
from training.data import Dataset
from training.versions import code_versions

_DECIMALS = 4
_CURVE_POINTS = 201
_RIGHT_DIGITS = 8  # shared among the classes, at least one each
_CLAIMS = 2  # the answer and the runner-up
_FALLEN, _ATTACKED_AT_ONCE = 20, 100
BOUNDARY_STEPS = ATTACKS["boundary"].steps


def initial_network(network: WhiteBoxNetwork, training: dict[str, Any]) -> WhiteBoxNetwork:
    """Returns the network as it was before its training.

    Args:
        network: The trained one.
        training: Recipe and seed, as recipe.json and a package's manifest record them.
    """
    torch.manual_seed(training["seed"])
    initial = WhiteBoxNetwork(network.config)
    with torch.no_grad():
        for name, values in training["recipe"].get("start", {}).items():
            initial.get_parameter(name).copy_(torch.tensor(values))
    return initial


def introspect(
    network: WhiteBoxNetwork,
    initial: WhiteBoxNetwork,
    dataset: Dataset,
    epsilon: float,
    boundary_steps: int = BOUNDARY_STEPS,
) -> dict[str, Any]:
    """Returns all that the figures of a network need, rounded to four digits.

    Args:
        network: The trained network.
        initial: The same network before its training.
        dataset: Some images are chosen: the first ones that are classified right, and the first that is not.
        epsilon: Radius of the L-inf ball in which images are to fall.
        boundary_steps: Of the attack that looks for the smallest change.
    """
    frozen = network.freeze().eval()
    furthest = math.sqrt(network.config.height * network.config.width)  # no two images are further apart
    boundary = AttackSettings("boundary", "l2", epsilon=furthest, steps=boundary_steps)
    x = torch.linspace(0, 1, _CURVE_POINTS)
    return {
        "labels": list(network.config.labels),
        "config": network.config.to_dict(),
        "num_parameters": network.num_parameters(),
        "code": code_versions(),
        "data": dataset.origin(),
        "two_step": {
            "x": _numbers(x),
            "before": _staircase(initial.two_step, x),
            "after": _staircase(network.two_step, x),
        },
        "kernels": _numbers(frozen.kernels),
        "shapes": {"bases": _numbers(network.affine.base), "poses": _numbers(network.affine.poses)},
        "rows": _numbers(network.logical.base * network.logical.live),
        "boundary": boundary.to_dict(),
        "digits": _layer_outputs(frozen, dataset, boundary),
        "fallen": {"epsilon": epsilon, "images": _fallen(frozen, dataset, epsilon)},
    }


def _staircase(layer: TwoStepLayer | MultiStepLayer, x: Tensor) -> dict[str, Any]:
    with torch.no_grad():
        y = two_step(x[:, None, None, None], layer.terms())[:, 0, 0, 0]
    return {
        "levels": _numbers(layer.levels),
        "thresholds": _numbers(layer.thresholds),
        "scales": _numbers(layer.scales),
        "y": _numbers(y),
    }


@torch.no_grad()
def _layer_outputs(
    network: FrozenNetwork, dataset: Dataset, boundary: AttackSettings
) -> list[dict[str, Any]]:
    """Returns each chosen digit with what the layers make of it and its smallest change."""
    right = torch.cat([network(images) for images in dataset.images.split(200)]).argmax(1) == dataset.classes
    chosen = _chosen(right, dataset)
    images, classes = dataset.images[chosen], dataset.classes[chosen]
    trace = network.trace(images)
    seen = [
        {
            "index": int(index),
            "label": dataset.labels[int(classes[n])],
            "image": _numbers(images[n, 0]),
            "two_step": _numbers(trace.two_step[n]),
            "bright": _numbers(trace.bright[n]),
            "pose": _numbers(trace.pose[n]),
            "logits": _numbers(trace.logits[n]),
            "contributions": _numbers(trace.contributions[n]),
            "claims": _claims(trace, n, dataset.labels),
        }
        for n, index in enumerate(chosen)
    ]
    attacked = right[chosen]
    found = _minimal_adversarials(network, images[attacked], classes[attacked], dataset, boundary)
    mistakes = _mistakes(network, images[attacked], found, dataset)
    hit = [digit for digit, was_right in zip(seen, attacked, strict=True) if was_right]
    for digit, mistake in zip(hit, mistakes, strict=True):
        digit["nearest_mistake"] = mistake
    return seen


def _chosen(right: Tensor, dataset: Dataset) -> Tensor:
    """Returns indices: the first digits of each class that are right, class by class, and one wrong."""
    each = max(1, _RIGHT_DIGITS // len(dataset.labels))
    of_class = [(right & (dataset.classes == c)).nonzero()[:each, 0] for c in range(len(dataset.labels))]
    return torch.cat([*of_class, (~right).nonzero()[:1, 0]])


def _claims(trace: Trace, n: int, labels: tuple[Label, ...]) -> list[dict[str, Any]]:
    """Returns the answer and the runner-up: whose shape claims them and what each pixel adds."""
    best = trace.logits[n].topk(_CLAIMS).indices.tolist()
    own = len(trace.shapes[n]) // len(labels)  # features are ordered by class, `own` for each
    claims = []
    for c in best:
        shape = c * own + int(trace.claim_pose[n, c])
        claims.append(
            {
                "label": labels[c],
                "logit": round(float(trace.logits[n, c]), _DECIMALS),
                "shape": shape,
                "pose": int(trace.pose[n, shape]),
                "attribution": _numbers(trace.attribution_two_step[n, c]),
            }
        )
    return claims


def _minimal_adversarials(
    network: FrozenNetwork, images: Tensor, classes: Tensor, dataset: Dataset, settings: AttackSettings
) -> Tensor:
    """Returns for each image the nearest one that the attack found in another class."""
    starts = _nearest_of_another_class(network, images, classes, dataset)
    target = registry.Target(network, images, classes, lambda _images, _classes: starts)
    return registry.run(target, settings)


def _fallen(network: FrozenNetwork, dataset: Dataset, epsilon: float) -> list[dict[str, Any]]:
    """Returns the first images that are right, and wrong after projected gradient descent."""
    settings = AttackSettings("pgd", "linf", epsilon=epsilon, steps=100)
    fallen: list[dict[str, Any]] = []
    pieces = zip(*(each.split(_ATTACKED_AT_ONCE) for each in (dataset.images, dataset.classes)), strict=True)
    for some, truth in pieces:
        right = network(some).argmax(dim=1) == truth
        if not right.any():
            continue
        images, classes = some[right], truth[right]
        found = registry.run(registry.Target(network, images, classes), settings)
        fell = network(found).argmax(dim=1) != classes
        mistakes = _mistakes(network, images[fell], found[fell], dataset)
        for image, index, mistake in zip(images[fell], classes[fell].tolist(), mistakes, strict=True):
            fallen.append({"label": dataset.labels[index], "image": _numbers(image[0]), "mistake": mistake})
        if len(fallen) >= _FALLEN:
            break
    return fallen[:_FALLEN]


def _mistakes(
    network: FrozenNetwork, images: Tensor, found: Tensor, dataset: Dataset
) -> list[dict[str, Any]]:
    """Returns what became of images (N, 1, H, W), and how far it is from them."""
    mistakes = []
    for image, other, answer in zip(images, found, network(found).argmax(dim=1).tolist(), strict=True):
        apart = distance(image, other)
        mistakes.append(
            {
                "label": dataset.labels[answer],
                "image": _numbers(other[0]),
                "l2": round(apart.l2, _DECIMALS),
                "linf": round(apart.linf, _DECIMALS),
            }
        )
    return mistakes


def _nearest_of_another_class(
    network: FrozenNetwork, images: Tensor, classes: Tensor, dataset: Dataset
) -> Tensor:
    """Returns for each image (N, 1, H, W) the nearest of `dataset` that the network answers otherwise."""
    answers = torch.cat([network(some) for some in dataset.images.split(200)]).argmax(dim=1)
    apart = torch.cdist(images.flatten(1), dataset.images.flatten(1))  # (N, digits)
    apart[answers[None] == classes[:, None]] = torch.inf
    return dataset.images[apart.argmin(dim=1)]


def _numbers(values: Tensor) -> Any:  # noqa: ANN401 (nested lists, as deep as the tensor)
    """Returns nested lists of rounded numbers; a whole number takes one character in JSON, not three."""
    if values.dim() == 0:
        number = round(float(values), _DECIMALS)
        return int(number) if number == int(number) else number
    return [_numbers(value) for value in values.detach()]
