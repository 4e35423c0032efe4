"""Jobs for worker processes, as `service.worker` reads them."""

from typing import Any

from model.attacks.settings import AttackSettings
from service.engine import Engine, Images


def attack_job(
    engine: Engine, image: Images, label: int, settings: AttackSettings, query_budget: int
) -> dict[str, Any]:
    """Returns the job of an attack on one image (28, 28)."""
    return {
        "work": "attack",
        "model": engine.package.name,
        "image": image.ravel().tolist(),
        "true_class": engine.labels.index(label),
        "settings": settings.to_dict(),
        "query_budget": query_budget,
    }


def certify_job(
    engine: Engine, images: Images, labels: list[int], epsilon: float, radius: bool, counterexample: bool
) -> dict[str, Any]:
    """Returns the job of certifying images (N, 28, 28), all in one."""
    return {
        "work": "certify",
        "model": engine.package.name,
        "images": images.reshape(len(images), -1).tolist(),
        "true_classes": [engine.labels.index(label) for label in labels],
        "epsilon": epsilon,
        "radius": radius,
        "counterexample": counterexample,
    }
