"""Log lines to standard error, each with the id of the request it is about: JSON, or text to read."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

# The request that the running task works for.
NO_REQUEST = "-"
current_request_id: ContextVar[str] = ContextVar("request_id", default=NO_REQUEST)

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
    """Time, level and message, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, with the fields of the call and the request's id behind it."""
        fields = dict(getattr(record, _FIELDS, {}))
        if (request_id := current_request_id.get()) != NO_REQUEST:
            fields["request_id"] = request_id
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        behind = "".join(f" {name}={value}" for name, value in fields.items())
        line = f"{time} {record.levelname.lower():7} {_in_one_line(record.getMessage() + behind)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _in_one_line(text: str) -> str:
    """Returns a text in which nobody's input ends the line or moves the cursor of a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def set_up_logging(level: str, log_format: str) -> None:
    """Sends all logs to standard error in one format, uvicorn's too.

    Args:
        level: The least serious that is written.
        log_format: `json`, `text`, or `auto`: text where a person reads it, on a terminal.
    """
    if log_format == "auto":
        log_format = "text" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # `service.server` says of a start, and `service.http` of a request, what there is to say.
    starts = "warning" if level == "info" else level
    for name, least in (("uvicorn", level), ("uvicorn.error", starts)):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(least.upper())
    # Where nothing would be written, uvicorn does not put together what to write of each request either.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
