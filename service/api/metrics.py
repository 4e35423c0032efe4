"""GET /metrics, for Prometheus."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from service.api.dependencies import State
from service.api.openapi import problem_responses
from service.errors import InvalidInput
from service.telemetry import metrics

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=PlainTextResponse, responses=problem_responses(InvalidInput))
async def get_metrics(state: State) -> PlainTextResponse:
    """Show what the service counted, in Prometheus' text format; it is written once a second at most."""
    return PlainTextResponse(await state.metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})
