"""What is sent to worker processes, as `service.workers.worker` reads it."""

from typing import Any

from model.attacks.settings import AttackSettings
from model.package import Label
from model.plugins import loaded_plugins
from service.inference.engine import Engine, Images


def attack_message(
    engine: Engine, image: Images, label: Label, settings: AttackSettings, query_budget: int
) -> dict[str, Any]:
    """Returns the message that asks for an attack on one image (H, W)."""
    return {
        "work": "attack",
        **_package(engine),
        "image": image.tolist(),
        "true_class": engine.labels.index(label),
        "settings": settings.to_dict(),
        "plugins": loaded_plugins(),
        "query_budget": query_budget,
    }


def certify_message(
    engine: Engine, images: Images, labels: list[Label], epsilon: float, radius: bool, counterexample: bool
) -> dict[str, Any]:
    """Returns the message that asks for certificates of images (N, H, W)."""
    return {
        "work": "certify",
        **_package(engine),
        "images": images.tolist(),
        "true_classes": [engine.labels.index(label) for label in labels],
        "epsilon": epsilon,
        "radius": radius,
        "counterexample": counterexample,
    }


def _package(engine: Engine) -> dict[str, str]:
    """Names the package, and what it has to hold: a worker must not answer for another."""
    return {"package": str(engine.package.directory), "digest": engine.package.digest}
