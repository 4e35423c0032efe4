"""POST /v1/attack."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response

from model.attacks.settings import AttackSettings
from service.api.dependencies import (
    AttackDeadline,
    AttackWorkers,
    Context,
    CurrentSettings,
    CurrentThreads,
    Models,
    labelled_images,
)
from service.api.openapi import EXAMPLE_IMAGE, WORKER_PROBLEMS, body_examples
from service.api.schemas.requests import AttackRequest
from service.api.schemas.responses import AttackResponse
from service.codecs.serialization import model_ref
from service.errors import invalid_at
from service.http.disconnect import cancel_on_disconnect
from service.http.protection.threads import Threads
from service.http.responses import ArrayJSONResponse
from service.http.routing import JSONRoute, require_json
from service.http.sse import MEDIA_TYPE, EventStream
from service.inference.labelled_images import LabelledImages
from service.inference.model_repository import ModelRepository
from service.inference.outcomes import attack_outcomes
from service.settings import Settings
from service.telemetry import metrics
from service.workers.messages import attack_message
from service.workers.pool import Progress, WorkerPool, ignore_progress

router = APIRouter(tags=["attack"], route_class=JSONRoute)

_EXAMPLES = body_examples(
    pgd={"images": [EXAMPLE_IMAGE], "attack": "pgd", "epsilon": 0.3, "labels": [3]},
    smallest_perturbation={"images": [EXAMPLE_IMAGE], "attack": "deepfool", "norm": "l2", "epsilon": 4.0},
)
# For what is left to do when an attack has used all of its time.
_GRACE = 5.0
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}


@router.post(
    "/v1/attack",
    response_model=AttackResponse,
    responses=_EVENTS | WORKER_PROBLEMS,
    dependencies=[Depends(require_json)],
)
async def attack(
    request: Request,
    body: Annotated[AttackRequest, Body(openapi_examples=_EXAMPLES)],
    models: Models,
    settings: CurrentSettings,
    threads: CurrentThreads,
    workers: AttackWorkers,
    deadline: AttackDeadline,
    context: Context,
) -> Response:
    """Look for an image nearby that the model takes for something else.

    The image in the answer lies within epsilon of the original and in [0, 1], whether the attack
    succeeded or not. fab, boundary, hopskipjump and deepfool minimise the distance; the others stop at
    the first success. The same request with the same seed gives the same answer, unless time runs out.
    With `Accept: text/event-stream`: `progress` events, then the answer as a `result` event.
    """
    labelled = await threads.run("unpack", deadline, lambda: _label(body, models, settings))
    context.mark("parse")
    budget = body.query_budget or settings.max_attack_queries

    async def work(on_progress: Progress) -> dict[str, Any]:
        return await _attack(labelled, _settings_of(body), budget, workers, threads, deadline, on_progress)

    if MEDIA_TYPE in request.headers.get("accept", ""):
        return EventStream(work)
    response = ArrayJSONResponse(await cancel_on_disconnect(request, work(ignore_progress)))
    context.mark("infer")
    return response


def _label(body: AttackRequest, models: ModelRepository, settings: Settings) -> LabelledImages:
    most = settings.max_attack_queries
    if body.query_budget is not None and body.query_budget > most:
        raise invalid_at(["query_budget"], f"at most {most} queries an image are allowed")
    most = settings.max_attack_steps
    if body.steps is not None and body.steps > most:
        raise invalid_at(["steps"], f"at most {most} steps are allowed")
    return labelled_images(body, settings.max_attack_images, models, settings)


def _settings_of(body: AttackRequest) -> AttackSettings:
    return AttackSettings(body.attack, body.norm, body.epsilon, body.steps, body.restarts, seed=body.seed)


async def _attack(
    labelled: LabelledImages,
    settings: AttackSettings,
    query_budget: int,
    workers: WorkerPool,
    threads: Threads,
    deadline: float,
    on_progress: Progress,
) -> dict[str, Any]:
    """Attacks the images one after the other; returns an `AttackResponse`."""
    messages = [
        attack_message(labelled.engine, image, label, settings, query_budget)
        for image, label in zip(labelled.images, labelled.labels, strict=True)
    ]
    results = await workers.run(messages, deadline, on_progress)
    package = labelled.engine.package
    queries = sum(result["queries"] for result in results)
    metrics.ATTACK_QUERIES.labels(package.name, settings.attack).inc(queries)
    return {
        "model": model_ref(package),
        "attack": settings.to_dict(),
        "results": await threads.run("unpack", deadline + _GRACE, lambda: attack_outcomes(labelled, results)),
    }
