"""The application: `create_app(settings)`; importing this module loads no model."""

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import Depends, FastAPI
from starlette.types import Receive, Scope, Send

from service.api import attack, certify, explain, health, kserve_v1, metrics, models, predict
from service.api.dependencies import ServiceState
from service.api.openapi import api_key_security, describe_problems, operation_id
from service.api.openinference import inference, repository
from service.http import problems
from service.http.admission import AdmissionControl
from service.http.auth import ApiKeys
from service.http.middleware import RequestMiddleware
from service.http.unknown import refuse_unknown_query_parameters
from service.inference.batcher import QueueLimit
from service.inference.model_repository import ModelRepository, ServedModel
from service.settings import Settings
from service.telemetry.metrics import flush_periodically
from service.telemetry.tracing import Tracing
from service.workers.pool import WorkerPool

_LOGGER = logging.getLogger("service")
_DESCRIPTION = """
A white-box neural network behind REST: it **predicts** a digit, **explains** the answer by the
computation itself (contributions sum to the logit), lets you **attack** it, and **certifies** where no
attack can succeed.

An image is a 28 x 28 list of rows of numbers in [0, 1], or `{"png": "<base64>"}`; predict and explain
also take a raw `image/png` body. Every error is an RFC 9457 problem, except under `/v2` (the Open Inference
Protocol) and KServe's `:predict` and `:explain`, which have their own form.
"""


class Application(FastAPI):
    """FastAPI with a layer around all of its own, its error handling too.

    Attributes:
        outermost: The layer.
    """

    outermost: RequestMiddleware

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
    tracing = Tracing.from_settings(settings)
    api_keys = ApiKeys.from_settings(settings)
    admission = AdmissionControl(
        api_keys,
        settings.max_requests,
        settings.metrics_need_key,
        settings.access_log,
        tracing,
    )

    state = new_state(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.models.load_all()
        _limit_threads()
        app.openapi()  # routes look up in it which names are known
        state.attacks.start()
        state.certificates.start()
        watch = _watch(state)
        flushing = asyncio.create_task(flush_periodically())
        _collect_less_garbage()
        state.ready = True
        _LOGGER.info("ready: %s", ", ".join(map(_named, state.models)))
        try:
            with _unready_before_the_end(state):
                yield
        finally:
            state.ready = False
            watch.cancel()
            flushing.cancel()
            await state.attacks.stop()
            await state.certificates.stop()
            if tracing is not None:
                await asyncio.to_thread(tracing.stop)

    app = Application(
        title="whitebox-serving",
        version=version("whitebox-serving"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(refuse_unknown_query_parameters)],
        generate_unique_id_function=operation_id,
        # service.telemetry sees every request already, those past FastAPI too.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = state
    problems.install_handlers(app)
    security = api_key_security() if api_keys else []
    for group in (predict, explain, attack, certify, kserve_v1, models, inference, repository):
        app.include_router(group.router, dependencies=security)
    app.include_router(health.router)
    app.include_router(metrics.router, dependencies=security if settings.metrics_need_key else [])
    app.outermost = RequestMiddleware(
        super(Application, app).__call__,
        handlers={"/v1/predict": predict.PredictHandler(state)},
        admission=admission,
        max_body_bytes=settings.max_body_bytes,
        max_body_seconds=settings.request_timeout_ms / 1000,
    )
    return app


def new_state(settings: Settings) -> ServiceState:
    """Returns what a service holds before it starts; no model is loaded yet."""
    limit = QueueLimit(settings.max_waiting_images)
    models = ModelRepository(settings.models_dir, settings.default_model, limit, settings.state_dir)
    attacks = WorkerPool("attacks", models.package_paths, settings.attack_workers, settings.attack_queue)
    certificates = WorkerPool(
        "certificates", models.package_paths, settings.certify_workers, settings.certify_queue
    )
    return ServiceState(settings, models, attacks, certificates)


def _limit_threads() -> None:
    """Lets few explanations be computed at once: more threads than cores only take turns with predictions.

    Predictions beside 24 clients that want explanations take 6 ms with four threads on two cores, 24 ms with
    FastAPI's 40.
    """
    current_default_thread_limiter().total_tokens = min(40, 2 * (os.cpu_count() or 1))


def _collect_less_garbage() -> None:
    """Spares requests the search for garbage, of which they make next to none (docs/decisions/0009)."""
    gc.collect()
    gc.freeze()  # what lives as long as the process need not be looked through again and again
    gc.set_threshold(20_000, 20, 20)


def _watch(state: ServiceState) -> asyncio.Task[None]:
    """Starts to look for changes of the model directory."""
    seconds = state.settings.models_poll_seconds
    return asyncio.create_task(state.models.watch(seconds) if seconds else asyncio.sleep(0))


@contextmanager
def _unready_before_the_end(state: ServiceState) -> Iterator[None]:
    """Makes SIGTERM turn readiness off first, so that a load balancer sends no more, and end it later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    end = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()

    def end_now(frame: FrameType | None) -> None:
        if callable(end):
            end(signal.SIGTERM, frame)

    def drain(_signal: int, frame: FrameType | None) -> None:
        state.ready = False
        if state.settings.drain_seconds:
            loop.call_soon_threadsafe(loop.call_later, state.settings.drain_seconds, end_now, frame)
        else:
            end_now(frame)

    signal.signal(signal.SIGTERM, drain)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, end)


def _named(model: ServedModel) -> str:
    return f"{model.package.name}/{model.package.version}"
