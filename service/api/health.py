"""GET /v2/health/live and /v2/health/ready, as the Open Inference Protocol has them."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from service.api.dependencies import State
from service.api.openapi import error_responses

router = APIRouter(tags=["health"], responses=error_responses())


class Live(BaseModel):
    """Answer of GET /v2/health/live."""

    live: bool


class Ready(BaseModel):
    """Answer of GET /v2/health/ready."""

    ready: bool


@router.get("/v2/health/live")
async def live() -> Live:
    """Answer 200 as long as the process runs."""
    return Live(live=True)


@router.get("/v2/health/ready", responses={503: {"model": Ready, "description": "Not yet"}})
async def ready(state: State, response: Response) -> Ready:
    """Answer 200 when requests will be served, else 503."""
    if not state.ready:
        response.status_code = 503
    return Ready(ready=state.ready)
