"""The processes that serve: one, or several behind one socket."""

import os
import signal
import sys
import tempfile
from contextlib import ExitStack

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from service.telemetry.logs import set_up_logging
from service.telemetry.metrics import SHARED_DIRECTORY

_LOG_LEVEL = "WHITEBOX_SERVER_LOG_LEVEL"


def run_server(host: str, port: int, workers: int, log_level: str, settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; then what is in progress ends first."""
    # uvicorn raises a signal again when it has shut down; a service that was told to end ended well.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))
    os.environ[_LOG_LEVEL] = log_level
    os.environ["PYTHONSAFEPATH"] = "1"  # serving processes import nothing from the working directory
    set_up_logging(log_level, settings.log_format)
    with ExitStack() as until_the_end:
        if workers > 1:
            _share(until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="whitebox-")))
        uvicorn.run(
            "service.server:application",
            factory=True,
            http="httptools",
            host=host,
            port=port,
            workers=workers,
            log_config=None,
            log_level=log_level,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here looks at a client's address or scheme
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )


def application() -> FastAPI:
    """Returns the application of a serving process; called in each."""
    settings = Settings()
    set_up_logging(os.environ[_LOG_LEVEL], settings.log_format)
    return create_app(settings)


def _share(directory: str) -> None:
    """Names the directory through which serving processes tell each other numbers and states."""
    os.environ.setdefault(SHARED_DIRECTORY, directory)
    os.environ.setdefault("WHITEBOX_STATE_DIR", directory)
