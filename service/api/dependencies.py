"""What routes are given: the service's state and its parts, the request's context and its deadline."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path, Request

from service.api.schemas.requests import InferenceOptions, LabelledImagesRequest
from service.codecs.json_images import OpenedImages
from service.http.context import RequestContext, get_context
from service.http.protection.buffers import OutputBuffers
from service.http.protection.connections import Connections
from service.http.protection.threads import Threads
from service.inference.labelled_images import LabelledImages, label_images
from service.inference.model_repository import ModelRepository
from service.settings import Settings
from service.telemetry.metrics import Exposition
from service.workers.pool import WorkerPool


@dataclass
class ServiceState:
    """The state behind the routes.

    Attributes:
        settings: As the service was started.
        models: The loaded models.
        attacks: The worker processes that attack.
        certificates: Those that certify, apart, so that no attack is ahead of a certificate.
        connections: Those that are open.
        threads: Where work is done that would hold up the event loop.
        answers: The budget of large answers that are made or unread.
        metrics: What /metrics tells.
        ready: True from the end of the warm-up to the beginning of the shutdown.
    """

    settings: Settings
    models: ModelRepository
    attacks: WorkerPool
    certificates: WorkerPool
    connections: Connections
    threads: Threads
    answers: OutputBuffers
    metrics: Exposition
    ready: bool = False


# Coroutines, though they wait for nothing: FastAPI would call functions in threads.
async def get_state(request: Request) -> ServiceState:
    """Returns the state of the application that a request came to."""
    return cast(ServiceState, request.app.state.service)


State = Annotated[ServiceState, Depends(get_state)]


async def get_settings(state: State) -> Settings:
    """Returns the service's settings."""
    return state.settings


async def get_models(state: State) -> ModelRepository:
    """Returns the loaded models."""
    return state.models


async def get_attack_workers(state: State) -> WorkerPool:
    """Returns the worker processes that attack."""
    return state.attacks


async def get_certify_workers(state: State) -> WorkerPool:
    """Returns the worker processes that certify."""
    return state.certificates


async def get_threads(state: State) -> Threads:
    """Returns the threads for work that would hold up the event loop."""
    return state.threads


async def get_answer_buffers(state: State) -> OutputBuffers:
    """Returns the budget of large answers that are made or unread."""
    return state.answers


async def get_request_context(request: Request) -> RequestContext:
    """Returns what is known of the request from its head."""
    return get_context(request)


CurrentSettings = Annotated[Settings, Depends(get_settings)]
Models = Annotated[ModelRepository, Depends(get_models)]
AttackWorkers = Annotated[WorkerPool, Depends(get_attack_workers)]
CertifyWorkers = Annotated[WorkerPool, Depends(get_certify_workers)]
CurrentThreads = Annotated[Threads, Depends(get_threads)]
AnswerBuffers = Annotated[OutputBuffers, Depends(get_answer_buffers)]
Context = Annotated[RequestContext, Depends(get_request_context)]


async def get_deadline(context: Context, settings: CurrentSettings) -> float:
    """Returns when a prediction's or an explanation's time is over, a `time.monotonic()` value."""
    return context.deadline(settings.request_timeout_ms / 1000)


async def get_attack_deadline(context: Context, settings: CurrentSettings) -> float:
    """Returns when an attack's time is over."""
    return context.deadline(settings.attack_timeout_seconds)


async def get_certify_deadline(context: Context, settings: CurrentSettings) -> float:
    """Returns when a certificate's time is over."""
    return context.deadline(settings.certify_timeout_seconds)


Deadline = Annotated[float, Depends(get_deadline)]
AttackDeadline = Annotated[float, Depends(get_attack_deadline)]
CertifyDeadline = Annotated[float, Depends(get_certify_deadline)]

ModelName = Annotated[
    str, Path(description="Name of a model.", openapi_examples={"shipped": {"value": "mnist-3v5"}})
]
ModelVersion = Annotated[
    str, Path(description="A loaded version of it.", openapi_examples={"shipped": {"value": "3"}})
]


def typicality_level(options: InferenceOptions, settings: Settings) -> float:
    """Returns the level of a request, or else the service's."""
    return settings.typicality_level if options.typicality_level is None else options.typicality_level


def labelled_images(
    body: LabelledImagesRequest, max_images: int, models: ModelRepository, settings: Settings
) -> LabelledImages:
    """Returns the images of a request with their labels, decoded here.

    Raises:
        ModelNotFound: The model is not loaded.
        InvalidInput: An image cannot be read, there are too many, or the labels are not theirs.
    """
    engine = models.get(body.model, body.version).engine
    images = OpenedImages(engine.preprocessing, body.images, max_images, settings, preprocess=body.preprocess)
    return label_images(engine, images.decode(), body.labels, typicality_level(body, settings))
