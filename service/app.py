"""The application: `create_app(settings)`; importing this module loads no model."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import attack, certify, explain, health, kserve_v1, metrics, models, predict
from service.api.dependencies import ServiceState
from service.api.openapi import api_key_security, describe_problems, operation_id
from service.api.openinference import inference, repository
from service.http import problems
from service.http.middleware import RequestMiddleware
from service.http.protection.admission import AdmissionControl
from service.http.protection.auth import ApiKeys
from service.http.protection.buffers import InputBuffers, OutputBuffers
from service.http.protection.concurrency import ConcurrencyLimit
from service.http.protection.connections import Connections
from service.http.protection.strangers import Strangers
from service.http.protection.threads import Threads
from service.http.unknown import refuse_unknown_query_parameters
from service.inference.batcher import QueueLimit
from service.inference.model_repository import ModelRepository
from service.inference.package_trial import PackageTrial
from service.lifespan import running
from service.settings import Settings, SettingsError
from service.telemetry.metrics import Exposition
from service.web import page
from service.workers.pool import WorkerPool

if TYPE_CHECKING:
    from service.telemetry.tracing import Tracing

_LOGGER = logging.getLogger("service")
_DESCRIPTION = """
A white-box neural network behind REST: it **predicts** what an image shows, **explains** the answer by the
computation itself (contributions sum to the logit), lets you **attack** it, and **certifies** where no
attack can succeed.

An image is a list of rows of numbers in [0, 1], as many as the model takes (`input` of its manifest), or
`{"image": "<base64>"}`; predict and explain
also take the file of one image (PNG, JPEG, WebP) as their body. Each answer says whether the image is
`typical` of what the model was trained on. Every error is an RFC 9457 problem,
except under `/v2` (the Open Inference Protocol) and KServe's `:predict` and `:explain`, which have
their own form.
"""


class Application(FastAPI):
    """FastAPI with a layer around all of its own, its error handling too.

    Attributes:
        outermost: The layer.
        connections: What `service.http.protection.connections` counts below it.
    """

    outermost: ASGIApp
    connections: Connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request to the outermost layer."""
        await self.outermost(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Returns FastAPI's document, with problems where it has its own errors."""
        if self.openapi_schema is None:
            describe_problems(super().openapi())
        return super().openapi()


def create_app(settings: Settings | None = None) -> Application:
    """Returns the application; its models are loaded when it starts."""
    settings = settings or Settings()
    tracing = create_tracing(settings)
    api_keys = ApiKeys.from_settings(settings)
    state = new_state(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Routes look up in it which names are known; it is made while the models are loaded.
        described = asyncio.create_task(asyncio.to_thread(app.openapi))
        async with running(state, tracing):
            await described
            yield

    app = Application(
        title="whitebox-serving",
        version=version("whitebox-serving"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # both load their viewers from elsewhere; service.web.page serves ours
        redoc_url=None,
        dependencies=[Depends(refuse_unknown_query_parameters)],
        generate_unique_id_function=operation_id,
        # service.telemetry sees every request already, those past FastAPI too.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = state
    app.state.threads, app.state.budgets = state.threads, settings  # what routes take JSON with
    app.connections = state.connections
    problems.install_handlers(app)
    _include_routes(app, api_key_security() if api_keys else [], settings.metrics_need_key)
    app.outermost = _outermost(app, state, api_keys, tracing)
    _allow_other_sites(app, settings.cors_origins)
    return app


def _outermost(
    app: Application, state: ServiceState, api_keys: ApiKeys, tracing: "Tracing | None"
) -> RequestMiddleware:
    settings = state.settings
    return RequestMiddleware(
        super(Application, app).__call__,
        handlers={"/v1/predict": predict.PredictHandler(state)},
        strangers=Strangers.from_settings(settings),
        admission=AdmissionControl(api_keys, settings, tracing),
        predictions=ConcurrencyLimit(settings.max_requests, settings.target_latency_ms / 1000),
        bodies=InputBuffers(settings),
        answers=state.answers,
    )


def create_tracing(settings: Settings) -> "Tracing | None":
    """Returns what the settings ask for; OpenTelemetry, a quarter of the service's start, is imported for it.

    Raises:
        SettingsError: They ask for traces, and the extra [otel] is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        from service.telemetry.tracing import Tracing  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            "WHITEBOX_OTLP_ENDPOINT needs the extra [otel]; install it or unset the variable."
        ) from error
    return Tracing(settings.otlp_endpoint)


def _allow_other_sites(app: Application, origins: Sequence[str]) -> None:
    """Lets browsers show answers to pages of these origins."""
    if origins:
        app.outermost = CORSMiddleware(
            app.outermost,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["*"],
        )


def _include_routes(app: FastAPI, security: list[Any], metrics_need_key: bool) -> None:
    for group in (predict, explain, attack, certify, kserve_v1, models, inference, repository):
        app.include_router(group.router, dependencies=security)
    app.include_router(health.router)
    app.include_router(metrics.router, dependencies=security if metrics_need_key else [])
    app.router.routes.extend(page.ROUTES)


def _package_trial(settings: Settings) -> Callable[[], PackageTrial]:
    """Returns how packages are tried.

    Raises:
        SettingsError: They have to be signed, and the key or the extra [signing] is not there.
    """
    key = settings.package_public_key
    if key is not None and not key.is_file():
        raise SettingsError(f"{key} (WHITEBOX_PACKAGE_PUBLIC_KEY) is no file.")
    if key is not None and find_spec("model_signing") is None:
        raise SettingsError(
            "WHITEBOX_PACKAGE_PUBLIC_KEY needs the extra [signing]; install it or unset the variable."
        )
    return partial(PackageTrial, settings.model_trial_seconds, key)


def new_state(settings: Settings) -> ServiceState:
    """Returns what a service holds before it starts; no model is loaded yet."""
    limit = QueueLimit(settings.max_waiting_images)
    models = ModelRepository(
        settings.models_dir, settings.default_model, limit, _package_trial(settings), settings.state_dir
    )
    attacks = WorkerPool("attacks", settings.attack_workers, settings.attack_queue)
    certificates = WorkerPool("certificates", settings.certify_workers, settings.certify_queue)
    threads = Threads(settings.threads, settings.thread_queue)
    exposition = Exposition(settings.metrics_cache_seconds)
    connections = Connections(settings)
    answers = OutputBuffers(settings, connections.unread)
    return ServiceState(settings, models, attacks, certificates, connections, threads, answers, exposition)
