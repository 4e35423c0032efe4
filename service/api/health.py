"""GET /v2/health/live and /v2/health/ready, as the Open Inference Protocol has them."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from service.api.dependencies import State
from service.api.openapi import error_responses
from service.workers.pool import PoolStatus

router = APIRouter(tags=["health"], responses=error_responses())


class Live(BaseModel):
    """Answer of GET /v2/health/live."""

    live: bool


class Workers(BaseModel):
    """How the worker pools do."""

    attacks: PoolStatus
    certificates: PoolStatus


class Ready(BaseModel):
    """Answer of GET /v2/health/ready."""

    ready: bool
    workers: Workers


@router.get("/v2/health/live")
async def live() -> Live:
    """Answer 200 as long as the process runs."""
    return Live(live=True)


@router.get(
    "/v2/health/ready",
    response_model_exclude_none=True,
    responses={503: {"model": Ready, "description": "Not yet"}},
)
async def ready(state: State, response: Response) -> Ready:
    """Answer 200 when the default model is loaded and no worker pool is unavailable, else 503.

    A pool is `off`, `starting`, `ready` or `unavailable`, the latter with a reason. One that is off was not
    asked for, and one that starts lets its own requests wait; neither makes the service unready.
    """
    workers = Workers(attacks=state.attacks.status(), certificates=state.certificates.status())
    is_ready = (
        state.ready
        and bool(state.models.versions(state.models.default))
        and "unavailable" not in (workers.attacks.state, workers.certificates.state)
    )
    if not is_ready:
        response.status_code = 503
    return Ready(ready=is_ready, workers=workers)
