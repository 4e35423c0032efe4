"""POST /v1/attack."""

import time
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from model.attacks.settings import AttackSettings
from service.api.answering import (
    Labelled,
    OwnBodyRoute,
    json_response,
    labelled,
    unless_client_leaves,
)
from service.api.dependencies import ServiceState, get_state
from service.api.documentation import EXAMPLE_PNG, PROBLEMS, WORKER_PROBLEMS, json_body
from service.api.schemas import AttackAnswer, AttackRequest
from service.codecs.serialization import model_ref, predictions
from service.errors import UnsupportedMediaType, invalid_at
from service.http.body import is_png, off_the_loop, parse_json
from service.http.context import get_context
from service.http.sse import MEDIA_TYPE, EventStream
from service.telemetry import metrics
from service.workers.messages import attack_job
from service.workers.pool import Progress, ignore_progress

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
    With `Accept: text/event-stream`: `progress` events, then the answer as a `result` event.
    """
    service, context = get_state(request), get_context(request)
    most = service.settings.attack_timeout_seconds
    deadline = time.monotonic() + context.timeout(most, most=most)
    if is_png(request.headers.get("content-type", "")):
        raise UnsupportedMediaType("Send application/json: an attack has settings beside its image.")
    body = await request.body()
    context.mark("read")
    asked, question = await off_the_loop(body, lambda: _read(service, body))
    context.mark("parse")
    if MEDIA_TYPE in request.headers.get("accept", ""):
        return EventStream(lambda tell: _answer(service, question, asked, deadline, tell))
    work = _answer(service, question, asked, deadline, ignore_progress)
    response = json_response(await unless_client_leaves(request, work))
    context.mark("infer")
    return response


def _read(service: ServiceState, body: bytes) -> tuple[AttackRequest, Labelled]:
    asked = parse_json(AttackRequest, body)
    _check_limits(asked, service)
    return asked, labelled(asked, service, service.settings.max_attack_images)


def _check_limits(asked: AttackRequest, service: ServiceState) -> None:
    most = service.settings.max_attack_queries
    if asked.query_budget is not None and asked.query_budget > most:
        raise invalid_at(["query_budget"], f"at most {most} queries an image are allowed")
    most = service.settings.max_attack_steps
    if asked.steps is not None and asked.steps > most:
        raise invalid_at(["steps"], f"at most {most} steps are allowed")


def _settings(asked: AttackRequest) -> AttackSettings:
    return AttackSettings(
        asked.attack, asked.norm, asked.epsilon, asked.steps, asked.restarts, seed=asked.seed
    )


async def _answer(
    service: ServiceState, question: Labelled, asked: AttackRequest, deadline: float, tell: Progress
) -> dict[str, Any]:
    budget = asked.query_budget or service.settings.max_attack_queries
    jobs = [
        attack_job(question.engine, image, label, _settings(asked), budget)
        for image, label in zip(question.images, question.labels, strict=True)
    ]
    found = await service.attacks.run(jobs, deadline, tell)
    spent = sum(result["queries"] for result in found)
    metrics.ATTACK_QUERIES.labels(question.engine.package.name, asked.attack).inc(spent)
    return {
        "model": model_ref(question.engine),
        "attack": _settings(asked).to_dict(),
        "results": _outcomes(question, found),
    }


def _outcomes(question: Labelled, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    images = np.array([result["image"] for result in found], np.float32).reshape(-1, 28, 28)
    adversarial = predictions(question.engine, images)
    return [
        {
            **result,
            # As float64, whose text is exact: what the client reads back is inside the ball too.
            "image": image.astype(np.float64),
            "label": label,
            "original": original,
            "adversarial": fooled,
        }
        for result, image, label, original, fooled in zip(
            found, images, question.labels, question.originals, adversarial, strict=True
        )
    ]
