"""What a running service holds: settings, models, the worker pools."""

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from service.inference.model_repository import ModelRepository
from service.settings import Settings
from service.workers.pool import WorkerPool


@dataclass
class ServiceState:
    """The state behind the routes.

    Attributes:
        settings: As the service was started.
        models: The loaded models.
        attacks: The worker processes that attack.
        certificates: Those that certify, apart, so that no attack is ahead of a certificate.
        ready: True from the end of the warm-up to the beginning of the shutdown.
    """

    settings: Settings
    models: ModelRepository
    attacks: WorkerPool
    certificates: WorkerPool
    ready: bool = False


def get_state(request: Request) -> ServiceState:
    """Returns the state of the application that a request came to."""
    return cast(ServiceState, request.app.state.service)
