"""POST /v1/attack."""

import time
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from model.attacks.settings import AttackSettings
from service.answers import model_ref, predictions
from service.engine import Engine, Images
from service.intake import images_of, is_png, parse, read_body
from service.jobs import attack_job
from service.problems import UnsupportedMediaType, invalid_at
from service.routes.answering import (
    OwnBodyRoute,
    json_response,
    labels_of,
    unless_client_leaves,
    with_preprocessed,
)
from service.routes.documented import EXAMPLE_PNG, PROBLEMS, WORKER_PROBLEMS, json_body
from service.schemas import AttackAnswer, AttackRequest
from service.state import Service, service_of

router = APIRouter(tags=["attack"], route_class=OwnBodyRoute)

_EXAMPLE = {"images": [{"png": EXAMPLE_PNG}], "attack": "pgd", "epsilon": 0.3, "labels": [3]}


@router.post(
    "/v1/attack",
    responses={200: {"model": AttackAnswer}, **PROBLEMS, **WORKER_PROBLEMS},
    openapi_extra=json_body(AttackRequest, _EXAMPLE),
)
async def attack(request: Request) -> Response:
    """Look for an image nearby that the model takes for something else.

    The image in the answer lies within epsilon of the original and in [0, 1], whether the attack
    succeeded or not. fab, boundary, hopskipjump and deepfool minimise the distance; the others stop at
    the first success. The same request with the same seed gives the same answer, unless time runs out.
    """
    service = service_of(request)
    if is_png(request):
        raise UnsupportedMediaType("Send application/json: an attack has settings beside its image.")
    asked = parse(AttackRequest, await read_body(request, service.settings))
    engine = service.engine(asked.model)
    intake = images_of(asked, service.settings.max_attack_images, service.settings)
    _check_budget(asked, service)
    originals = with_preprocessed(predictions(engine, intake.images), intake)
    labels = labels_of(asked, engine, originals)
    found = await unless_client_leaves(request, _attack_all(service, engine, intake.images, labels, asked))
    outcomes = _outcomes(engine, labels, originals, found)
    return json_response(
        {"model": model_ref(engine), "attack": _settings(asked).to_dict(), "results": outcomes}
    )


def _check_budget(asked: AttackRequest, service: Service) -> None:
    most = service.settings.max_attack_queries
    if asked.query_budget is not None and asked.query_budget > most:
        raise invalid_at(["query_budget"], f"at most {most} queries an image are allowed")


def _settings(asked: AttackRequest) -> AttackSettings:
    return AttackSettings(
        asked.attack, asked.norm, asked.epsilon, asked.steps, asked.restarts, seed=asked.seed
    )


async def _attack_all(
    service: Service, engine: Engine, images: Images, labels: list[int], asked: AttackRequest
) -> list[dict[str, Any]]:
    deadline = time.monotonic() + service.settings.attack_timeout_seconds
    budget = asked.query_budget or service.settings.max_attack_queries
    jobs = [
        attack_job(engine, image, label, _settings(asked), budget)
        for image, label in zip(images, labels, strict=True)
    ]
    return await service.attacks.run(jobs, deadline)


def _outcomes(
    engine: Engine,
    labels: list[int],
    originals: list[dict[str, Any]],
    found: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    images = np.array([result["image"] for result in found], np.float32).reshape(-1, 28, 28)
    return [
        {
            **result,
            # As float64, whose text is exact: what the client reads back is inside the ball too.
            "image": image.astype(np.float64),
            "label": label,
            "original": original,
            "adversarial": adversarial,
        }
        for result, image, label, original, adversarial in zip(
            found, images, labels, originals, predictions(engine, images), strict=True
        )
    ]
