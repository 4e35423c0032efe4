"""Log lines to standard error, each with the id of the request it is about: JSON, or text to read."""

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

# The request that the running task works for.
current_request_id: ContextVar[str] = ContextVar("request_id", default="-")

# What a log call may hand over beside its message: `extra={"fields": {...}}`.
_FIELDS = "fields"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns time, level, logger, request id and message, with the fields of the call."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": current_request_id.get(),
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """Level, request id and message."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, with the fields of the call behind it."""
        record.request_id = current_request_id.get()
        fields = "".join(f" {name}={value}" for name, value in getattr(record, _FIELDS, {}).items())
        return super().format(record) + fields


def set_up_logging(level: str, log_format: str) -> None:
    """Sends all logs to standard error in one format, uvicorn's too."""
    handler = logging.StreamHandler()
    text = TextFormatter("%(levelname)s [%(request_id)s] %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # `service.http.middleware` says what there is to say of a request.
    logging.getLogger("uvicorn.access").handlers.clear()
    logging.getLogger("uvicorn.access").propagate = False
