"""The application: `create_app(settings)`; importing this module loads no model."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service import problems, schemas
from service.engine import Engine
from service.request_id import RequestIds
from service.routes import attack, certify, explain, health, models, predict
from service.settings import Settings
from service.state import Service, check_packages
from service.worker_pool import WorkerPool

_LOGGER = logging.getLogger("service")
_DESCRIPTION = """
A white-box neural network behind REST: it **predicts** a digit, **explains** the answer by the
computation itself (contributions sum to the logit), lets you **attack** it, and **certifies** where no
attack can succeed.

An image is a 28 x 28 list of rows of numbers in [0, 1], or `{"png": "<base64>"}`; predict and explain
also take a raw `image/png` body. Every error is an RFC 9457 problem.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Returns the application; its models are loaded when it starts."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = load(settings)
        app.state.service = service
        service.attacks.start()
        service.certificates.start()
        service.ready = True
        _LOGGER.info("ready: %s", ", ".join(sorted(service.engines)))
        try:
            yield
        finally:
            service.ready = False
            await service.attacks.stop()
            await service.certificates.stop()

    app = FastAPI(
        title="whitebox-serving",
        version=version("whitebox-serving"),
        description=_DESCRIPTION,
        lifespan=lifespan,
    )
    problems.install(app)
    for group in (predict, explain, attack, certify, models, health):
        app.include_router(group.router)
    app.add_middleware(RequestIds)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def load(settings: Settings) -> Service:
    """Loads and warms up every model.

    Raises:
        PackageError: A package is missing or damaged, or the default model is not there.
    """
    packages = check_packages(settings)
    engines = {package.name: Engine(package) for package in packages}
    for engine in engines.values():
        engine.warm_up()
    directories = [package.directory for package in packages]
    attacks = WorkerPool("attacks", directories, settings.attack_workers, settings.attack_queue)
    certificates = WorkerPool("certificates", directories, settings.certify_workers, settings.certify_queue)
    return Service(settings, engines, attacks, certificates)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Adds to FastAPI's schema the bodies that routes read themselves, and the problems."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        named = (
            schemas.PredictRequest,
            schemas.ExplainRequest,
            schemas.AttackRequest,
            schemas.CertifyRequest,
            problems.ProblemBody,
        )
        _, definitions = models_json_schema(
            [(model, "validation") for model in named],
            ref_template="#/components/schemas/{model}",
        )
        schema.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
        app.openapi_schema = schema
    return app.openapi_schema
