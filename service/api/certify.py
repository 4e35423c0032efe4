"""POST /v1/certify."""

import time
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from service.api.answering import (
    Labelled,
    OwnBodyRoute,
    json_response,
    labelled,
    unless_client_leaves,
)
from service.api.dependencies import ServiceState, get_state
from service.api.documentation import EXAMPLE_PNG, PROBLEMS, WORKER_PROBLEMS, json_body
from service.api.schemas import CertifyAnswer, CertifyRequest
from service.codecs.serialization import model_ref, predictions
from service.errors import UnsupportedMediaType
from service.http.body import is_png, off_the_loop, parse_json
from service.http.context import get_context
from service.inference.engine import Engine
from service.workers.messages import certify_job

router = APIRouter(tags=["certify"], route_class=OwnBodyRoute)

_EXAMPLE = {"images": [{"png": EXAMPLE_PNG}], "labels": [3], "epsilon": 0.1}


@router.post(
    "/v1/certify",
    responses={200: {"model": CertifyAnswer}, **PROBLEMS, **WORKER_PROBLEMS},
    openapi_extra=json_body(CertifyRequest, _EXAMPLE),
)
async def certify(request: Request) -> Response:
    """Prove that no image nearby is taken for something else, or show one that is.

    The bound holds for every attack there is or will be. Where it proves nothing, a short attack looks
    for a counterexample; `"counterexample": false` and `"radius": false` leave the bound alone, which is
    the fast part.
    """
    service, context = get_state(request), get_context(request)
    deadline = time.monotonic() + context.timeout(
        service.settings.certify_timeout_seconds, most=service.settings.certify_timeout_seconds
    )
    if is_png(request.headers.get("content-type", "")):
        raise UnsupportedMediaType("Send application/json: a certificate has an epsilon beside its image.")
    body = await request.body()
    context.mark("read")
    asked, question = await off_the_loop(body, lambda: _read(service, body))
    context.mark("parse")
    found = await unless_client_leaves(request, _certify_all(service, question, asked, deadline))
    context.mark("infer")
    results = [
        {"label": label, "prediction": original, **_with_counterexample(question.engine, one)}
        for label, original, one in zip(question.labels, question.originals, found, strict=True)
    ]
    return json_response(
        {
            "model": model_ref(question.engine),
            "epsilon": asked.epsilon,
            "norm": asked.norm,
            "results": results,
        }
    )


def _read(service: ServiceState, body: bytes) -> tuple[CertifyRequest, Labelled]:
    asked = parse_json(CertifyRequest, body)
    return asked, labelled(asked, service, service.settings.max_certify_images)


async def _certify_all(
    service: ServiceState, question: Labelled, asked: CertifyRequest, deadline: float
) -> list[dict[str, Any]]:
    job = certify_job(
        question.engine, question.images, question.labels, asked.epsilon, asked.radius, asked.counterexample
    )
    (result,) = await service.certificates.run([job], deadline)
    assessments: list[dict[str, Any]] = result["assessments"]
    return assessments


def _with_counterexample(engine: Engine, assessment: dict[str, Any]) -> dict[str, Any]:
    """Adds to a counterexample what the served model itself says of it."""
    if (found := assessment.get("counterexample")) is None:
        return assessment
    image = np.array(found["image"], np.float32).reshape(1, 28, 28)
    (prediction,) = predictions(engine, image)
    # As float64, whose text is exact: what the client reads back is inside the ball too.
    shown = {**found, "image": image[0].astype(np.float64), "prediction": prediction}
    return {**assessment, "counterexample": shown}
