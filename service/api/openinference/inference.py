"""The Open Inference Protocol V2: metadata, readiness and infer."""

import time
from importlib.metadata import version as version_of

import numpy as np
from fastapi import APIRouter, Request, Response

from service.api.answering import OwnBodyRoute, in_time, json_response
from service.api.dependencies import ServiceState, get_state
from service.api.documentation import MODEL_NAME, MODEL_VERSION, V2_ERRORS, json_body
from service.api.openinference import tensors as open_inference
from service.api.openinference.tensors import InferRequest, Wanted
from service.errors import UnsupportedMediaType
from service.http.body import off_the_loop, parse_json
from service.http.context import get_context
from service.inference.engine import Array, Images
from service.inference.model_repository import ServedModel

router = APIRouter(tags=["Open Inference Protocol V2"], route_class=OwnBodyRoute)

_PREDICTED = frozenset(("label", "logits", "probabilities"))
_EXAMPLE = {
    "id": "1",
    "inputs": [{"name": "image", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [0] * 784}],
    "outputs": [{"name": "label"}, {"name": "logits"}],
}
_BODY = json_body(InferRequest, _EXAMPLE)
_MODEL = "/v2/models/{name}"
_VERSION = "/v2/models/{name}/versions/{version}"


@router.get("/v2")
async def server(_: Request) -> Response:
    """Show the server's name, version and extensions."""
    return json_response(open_inference.server_metadata(version_of("whitebox-serving")))


@router.get(_VERSION, responses=V2_ERRORS, openapi_extra={"parameters": [MODEL_NAME, MODEL_VERSION]})
@router.get(_MODEL, responses=V2_ERRORS, openapi_extra={"parameters": [MODEL_NAME]})
async def metadata(request: Request) -> Response:
    """Show a model's versions, inputs and outputs."""
    models = get_state(request).models
    model = _model(request)
    return json_response(open_inference.model_metadata(model, models.versions(model.package.name)))


@router.get(
    _VERSION + "/ready", responses=V2_ERRORS, openapi_extra={"parameters": [MODEL_NAME, MODEL_VERSION]}
)
@router.get(_MODEL + "/ready", responses=V2_ERRORS, openapi_extra={"parameters": [MODEL_NAME]})
async def ready(request: Request) -> Response:
    """Answer 200 if the model is loaded."""
    return json_response({"name": _model(request).package.name, "ready": True})


@router.post(
    _VERSION + "/infer",
    responses=V2_ERRORS,
    openapi_extra={**_BODY, "parameters": [MODEL_NAME, MODEL_VERSION]},
)
@router.post(_MODEL + "/infer", responses=V2_ERRORS, openapi_extra={**_BODY, "parameters": [MODEL_NAME]})
async def infer(request: Request) -> Response:
    """Put images through the model: JSON tensors, or binary ones behind the JSON.

    Outputs are `label`, `logits`, `probabilities` and every tensor of the explanation.
    """
    service, context = get_state(request), get_context(request)
    deadline = time.monotonic() + context.timeout(service.settings.request_timeout_ms / 1000)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
    body = await request.body()
    context.mark("read")
    model = _model(request)
    length = request.headers.get(open_inference.JSON_LENGTH)
    head, binary = open_inference.split_body(body, length)
    asked, images, wanted = await off_the_loop(head, lambda: _read(service, model, head, binary))
    context.mark("parse")
    tensors = await _tensors(model, images, {one.name for one in wanted}, deadline, body)
    context.mark("infer")
    response = open_inference.answer(model, asked.id, wanted, tensors)
    context.mark("answer")
    return response


def _read(
    service: ServiceState, model: ServedModel, head: bytes, binary: memoryview
) -> tuple[InferRequest, Images, list[Wanted]]:
    asked = parse_json(InferRequest, head)
    wanted = open_inference.outputs_of(asked, model.engine)
    explains = any(one.name not in _PREDICTED for one in wanted)
    settings = service.settings
    most = settings.max_explain_images if explains else settings.max_images
    return asked, open_inference.image_tensor(asked, binary, most), wanted


async def _tensors(
    model: ServedModel, images: Images, names: set[str], deadline: float, body: bytes
) -> dict[str, Array]:
    """Returns the outputs by name; what is not asked for is not computed."""
    tensors: dict[str, Array] = {}
    if parts := sorted(names - _PREDICTED):
        in_time(deadline)
        tensors |= await off_the_loop(body, lambda: model.engine.explain(images, parts))
    if names & _PREDICTED:
        logits, probabilities = await model.batcher.predict(images, deadline)
        labels = np.array(model.engine.labels, np.int64)
        tensors |= {"logits": logits, "probabilities": probabilities, "label": labels[logits.argmax(axis=1)]}
    return tensors


def _model(request: Request) -> ServedModel:
    path = request.path_params
    return get_state(request).models.get(path["name"], path.get("version"))
