"""GET /metrics, for Prometheus."""

from fastapi import APIRouter, Response

from service.telemetry import metrics

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def get_metrics() -> Response:
    """Show what the service counted, in Prometheus' text format."""
    return Response(metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})
