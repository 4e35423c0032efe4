"""GET /metrics, for Prometheus."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from service.api.openapi import problem_responses
from service.errors import InvalidInput
from service.telemetry import metrics

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=PlainTextResponse, responses=problem_responses(InvalidInput))
def get_metrics() -> PlainTextResponse:
    """Show what the service counted, in Prometheus' text format."""
    return PlainTextResponse(metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})
