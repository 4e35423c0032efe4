"""The Open Inference Protocol V2: metadata, readiness and infer."""

import base64
import io
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version as version_of
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Body, Depends, Request, Response
from PIL import Image

from service.api.dependencies import (
    AnswerBuffers,
    Context,
    CurrentSettings,
    CurrentThreads,
    Deadline,
    ModelName,
    Models,
    ModelVersion,
)
from service.api.openapi import BINARY_TENSOR_BODY, EXAMPLE_PNG, V2_ERRORS, body_examples
from service.api.openinference.schemas import (
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerMetadata,
    TensorMetadata,
)
from service.api.openinference.tensors import (
    IMAGE,
    JSON_LENGTH,
    datatype_of,
    image_tensor,
    infer_response,
    requested_outputs,
    split_body,
)
from service.budgets import SMALL_BODY
from service.http.body import replayed
from service.http.protection.threads import Threads
from service.http.routing import AnyMediaTypeRoute, RouteHandler
from service.inference.engine import AT_ONCE, TYPICALITY_P_VALUE, Array, Images
from service.inference.model_repository import ServedModel

_EXTENSIONS = ["binary_tensor_data", "model_repository", "model_repository(unload_dependents)"]
_PLATFORM = "onnx_onnxv1"
_PREDICTED = frozenset(("label", "logits", "probabilities", TYPICALITY_P_VALUE))
_FEW_NUMBERS = 10_000  # are written on the event loop
_MODEL = "/v2/models/{name}"
_VERSION = "/v2/models/{name}/versions/{version}"
_THREE = np.asarray(Image.open(io.BytesIO(base64.b64decode(EXAMPLE_PNG))))
_IMAGE_INPUT = {
    "name": IMAGE,
    "shape": [1, 1, *_THREE.shape],
    "datatype": "UINT8",
    "data": _THREE.ravel().tolist(),
}
_EXAMPLES = body_examples(
    a_three={"id": "1", "inputs": [_IMAGE_INPUT], "outputs": [{"name": "label"}, {"name": "logits"}]}
)


class TensorRoute(AnyMediaTypeRoute):
    """A route whose body is JSON, and raw tensors behind it if a header tells the length of the JSON."""

    def get_route_handler(self) -> RouteHandler:
        """Returns a handler that is given the JSON alone."""
        handle = super().get_route_handler()

        async def handle_json_part(request: Request) -> Response:
            head, binary = split_body(await request.body(), request.headers.get(JSON_LENGTH))
            request.state.binary_tensors = binary
            return await handle(Request(request.scope, replayed(head, request.receive)))

        return handle_json_part


async def get_model(request: Request, models: Models, name: ModelName) -> ServedModel:
    """Returns the model that a path names, its newest version where the path names none."""
    return models.get(name, request.path_params.get("version"))


async def describe_version(version: ModelVersion) -> None:
    """Documents that a path names a version; `get_model` reads it."""


PathModel = Annotated[ServedModel, Depends(get_model)]
_VERSIONED = [Depends(describe_version)]

router = APIRouter(tags=["Open Inference Protocol V2"], responses=V2_ERRORS, route_class=TensorRoute)


@router.get("/v2")
async def v2_server_metadata() -> ServerMetadata:
    """Show the server's name, version and extensions."""
    name = "whitebox-serving"
    return ServerMetadata(name=name, version=version_of(name), extensions=_EXTENSIONS)


@router.get(_VERSION, dependencies=_VERSIONED, operation_id="v2_model_version_metadata")
@router.get(_MODEL)
async def v2_model_metadata(model: PathModel, models: Models) -> ModelMetadata:
    """Show a model's versions, inputs and outputs."""
    outputs = [TensorMetadata(**each) for each in model.engine.outputs()]
    labels = np.array(model.engine.labels)
    return ModelMetadata(
        name=model.package.name,
        versions=models.versions(model.package.name),
        platform=_PLATFORM,
        inputs=[TensorMetadata(name=IMAGE, datatype="FP32", shape=[-1, 1, *model.engine.size])],
        outputs=[TensorMetadata(name="label", datatype=datatype_of(labels), shape=[-1]), *outputs],
    )


@router.get(_VERSION + "/ready", dependencies=_VERSIONED, operation_id="v2_model_version_ready")
@router.get(_MODEL + "/ready")
async def v2_model_ready(model: PathModel) -> ModelReady:
    """Answer 200 if the model is loaded."""
    return ModelReady(name=model.package.name, ready=True)


@router.post(
    _VERSION + "/infer",
    response_model=InferResponse,
    openapi_extra=BINARY_TENSOR_BODY,
    dependencies=_VERSIONED,
    operation_id="v2_model_version_infer",
)
@router.post(_MODEL + "/infer", response_model=InferResponse, openapi_extra=BINARY_TENSOR_BODY)
async def v2_model_infer(
    request: Request,
    model: PathModel,
    body: Annotated[InferRequest, Body(openapi_examples=_EXAMPLES)],
    settings: CurrentSettings,
    threads: CurrentThreads,
    answers: AnswerBuffers,
    deadline: Deadline,
    context: Context,
) -> Response:
    """Put images through the model: JSON tensors, or binary ones behind the JSON.

    Outputs are `label`, `logits`, `probabilities` and every tensor of the explanation.
    """
    requested = requested_outputs(body, model.engine)
    names = {output.name for output in requested}
    most = settings.max_images if names <= _PREDICTED else settings.max_explain_images
    binary = request.state.binary_tensors
    is_small = len(await request.body()) <= SMALL_BODY
    images = await threads.run_or_here(
        is_small, "parse", deadline, lambda: image_tensor(body, binary, most, model.engine.size)
    )
    context.mark("parse")
    numbers = model.engine.numbers([output.name for output in requested], len(images))
    answers.reserve(context, numbers)
    tensors = await _infer(model, images, names, threads, deadline)
    context.mark("infer")
    response = await threads.run_or_here(
        numbers <= _FEW_NUMBERS,
        "write",
        deadline,
        lambda: infer_response(model.package, body.id, requested, tensors),
    )
    context.mark("answer")
    return response


async def _infer(
    model: ServedModel, images: Images, names: set[str], threads: Threads, deadline: float
) -> Mapping[str, Array]:
    """Returns the outputs by name; what is not asked for is not computed."""
    tensors: dict[str, Array] = {}
    if asked := sorted(names - _PREDICTED):
        pieces = [
            partial(model.engine.explain, images[start : start + AT_ONCE], asked)
            for start in range(0, len(images), AT_ONCE)
        ]
        found = await threads.run_in_turns("explain", deadline, pieces)
        tensors |= {name: np.concatenate([piece[name] for piece in found]) for name in asked}
    if names & _PREDICTED:
        logits, probabilities, p_values = await model.batcher.predict(images, deadline)
        labels = np.array(model.engine.labels)  # int64, or text
        tensors |= {"logits": logits, "probabilities": probabilities, "label": labels[logits.argmax(axis=1)]}
        tensors[TYPICALITY_P_VALUE] = p_values
    return tensors
