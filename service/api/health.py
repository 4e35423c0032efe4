"""GET /v2/health/live and /v2/health/ready, as the Open Inference Protocol has them."""

from fastapi import APIRouter, Request, Response

from service.api.dependencies import get_state

router = APIRouter(tags=["health"])


@router.get("/v2/health/live", response_model=None)
async def live() -> Response:
    """Answer 200 as long as the process runs."""
    return Response(b'{"live":true}', media_type="application/json")


@router.get("/v2/health/ready", response_model=None, responses={503: {"description": "Not yet"}})
async def ready(request: Request) -> Response:
    """Answer 200 when requests will be served, else 503."""
    if get_state(request).ready:
        return Response(b'{"ready":true}', media_type="application/json")
    return Response(b'{"ready":false}', 503, media_type="application/json")
