"""POST /v1/certify."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request, Response

from service.api.dependencies import (
    CertifyDeadline,
    CertifyWorkers,
    Context,
    CurrentSettings,
    CurrentThreads,
    Models,
    labelled_images,
)
from service.api.openapi import EXAMPLE_IMAGE, WORKER_PROBLEMS, body_examples
from service.api.schemas.requests import CertifyRequest
from service.api.schemas.responses import CertifyResponse
from service.codecs.serialization import model_ref
from service.http.disconnect import cancel_on_disconnect
from service.http.responses import ArrayJSONResponse
from service.http.routing import JSONRoute, require_json
from service.inference.outcomes import certify_outcomes
from service.workers.messages import certify_message

router = APIRouter(tags=["certify"], route_class=JSONRoute)

_EXAMPLES = body_examples(
    everything={"images": [EXAMPLE_IMAGE], "labels": [3], "epsilon": 0.1},
    the_bound_alone={
        "images": [EXAMPLE_IMAGE],
        "epsilon": 0.1,
        "radius": False,
        "counterexample": False,
    },
)


@router.post(
    "/v1/certify",
    response_model=CertifyResponse,
    responses=WORKER_PROBLEMS,
    dependencies=[Depends(require_json)],
)
async def certify(
    request: Request,
    body: Annotated[CertifyRequest, Body(openapi_examples=_EXAMPLES)],
    models: Models,
    settings: CurrentSettings,
    threads: CurrentThreads,
    workers: CertifyWorkers,
    deadline: CertifyDeadline,
    context: Context,
) -> Response:
    """Prove that no image nearby is taken for something else, or show one that is.

    It proves that the answer does not *change*, not that it is *true*: a network that knows 3 and 5 may be
    certified to call a 7 a 3; `typical` says whether the image looks like what it was trained on. The bound
    holds for every attack there is or will be. Where it proves nothing, a short attack looks
    for a counterexample; `"counterexample": false` and `"radius": false` leave the bound alone, which is
    the fast part.
    """
    labelled = await threads.run(
        "unpack", deadline, lambda: labelled_images(body, settings.max_certify_images, models, settings)
    )
    context.mark("parse")
    engine = labelled.engine
    message = certify_message(
        engine, labelled.images, list(labelled.labels), body.epsilon, body.radius, body.counterexample
    )
    (result,) = await cancel_on_disconnect(request, workers.run([message], deadline))
    context.mark("infer")
    answer = {
        "model": model_ref(engine.package),
        "epsilon": body.epsilon,
        "norm": body.norm,
        "results": certify_outcomes(labelled, result["assessments"]),
    }
    return ArrayJSONResponse(answer)
