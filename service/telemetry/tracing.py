"""OpenTelemetry traces: a span a request, a child span a stage. Imported only where a collector is named."""

import time
from collections.abc import Iterable, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.telemetry.logs import current_request_id


class Tracing:
    """Sends spans to a collector, in the background.

    Args:
        endpoint: URL that takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces.
    """

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create({"service.name": "whitebox-serving"})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("service")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self, name: str, status: int, seconds: float, stages: Mapping[str, float], traceparent: bytes | None
    ) -> None:
        """Records a request that has just been answered.

        Args:
            name: Method and route.
            status: Of the answer.
            seconds: From its head to the end of its answer.
            stages: Seconds spent in each stage, in order.
            traceparent: The W3C trace context that it brought.
        """
        end = time.time_ns()
        start = end - int(seconds * 1e9)
        carrier = {"traceparent": traceparent.decode("latin-1")} if traceparent else {}
        method, _, route = name.partition(" ")
        span = self._tracer.start_span(
            name,
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            start_time=start,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "whitebox.request_id": current_request_id.get(),
            },
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        self._record_stages(trace.set_span_in_context(span), start, stages.items())
        span.end(end)

    def _record_stages(self, parent: Context, start: int, stages: Iterable[tuple[str, float]]) -> None:
        for stage, spent in stages:
            stop = start + int(spent * 1e9)
            self._tracer.start_span(stage, context=parent, start_time=start).end(stop)
            start = stop

    def stop(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()
