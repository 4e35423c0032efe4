"""The processes that serve: one, or several behind one socket."""

import logging
import os
import resource
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from service.app import create_app
from service.http.protection.connections import Connection
from service.settings import Settings, SettingsError
from service.telemetry.logs import set_up_logging
from service.telemetry.metrics import SHARED_DIRECTORY

_LOGGER = logging.getLogger("service")
_APPLICATION = "service.server:application"
_EXAMPLE = Path("examples/three.png")  # where whoever starts it stands in a checkout
_OTHER_FILES = 256  # packages, workers, pipes, logs
_START_FAILED = 3  # uvicorn's exit code
# Of several serving processes, one that is silent for so long is killed and started again. On a busy machine
# one that starts is silent for longer than uvicorn's 5 s: none would ever serve.
_SILENT_SECONDS = 30


class _Server(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen."""
        await super().startup(sockets)
        if self.started:
            for listening in sockets or ():
                url = _url(listening)
                _LOGGER.info("listening on %s%s", url, _how_to_try(url) if sys.stderr.isatty() else "")


class _Supervisor(Multiprocess):
    """Starts serving processes again that were killed while it waited for their sign of life.

    uvicorn keeps a copy of a process's end of the pipe open: where that process dies before it has answered,
    the wait lasts `_SILENT_SECONDS`, and no other process is looked after.
    """

    def keep_subprocess_alive(self) -> None:
        """Asks every process for a sign of life and replaces those that give none."""
        for process in self.processes:
            process.child_conn.close()
        super().keep_subprocess_alive()


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _how_to_try(url: str) -> str:
    hint = f"; look at {url}/; its calls are at {url}/docs"
    if _EXAMPLE.exists():
        hint += f"; try: curl -H 'Content-Type: image/png' --data-binary @{_EXAMPLE} {url}/v1/predict"
    return hint


def listening_socket(settings: Settings) -> socket.socket:
    """Returns a socket at the host and port; whoever connects is refused until something listens.

    Raises:
        SettingsError: There can be none, as where another service has the port.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        place = f"{settings.host}, port {settings.port}"
        raise SettingsError(
            f"Cannot listen on {place}: {error.strerror}. Set --host and --port (0 takes a free port)."
        ) from error
    return listening


def run_server(settings: Settings, listening: socket.socket) -> None:
    """Serves on a socket until SIGTERM or SIGINT; then what is in progress ends first."""
    # uvicorn raises a signal again when it has shut down; a service that was told to end ended well.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))
    # What a serving process of several cannot get from the command line.
    os.environ["WHITEBOX_LOG_LEVEL"] = settings.log_level
    os.environ["PYTHONSAFEPATH"] = "1"  # it imports nothing from the working directory
    set_up_logging(settings.log_level, settings.log_format)
    _allow_open_files(settings.max_connections)
    if settings.workers == 1:
        _serve_alone(settings, listening)
        return
    _LOGGER.info("starting %d serving processes on %s", settings.workers, _url(listening))
    with tempfile.TemporaryDirectory(prefix="whitebox-") as directory:
        _share(directory)
        config = uvicorn.Config(_APPLICATION, workers=settings.workers, **_uvicorn_options(settings))
        _Supervisor(config, [listening]).run()


def _allow_open_files(connections: int) -> None:
    """Raises the limit of open files to what so many connections need, as far as the system allows.

    Without a file for a connection nobody is told anything: it waits unaccepted.
    """
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if least != resource.RLIM_INFINITY and least < wanted:
        if most != resource.RLIM_INFINITY and most < wanted:
            _LOGGER.warning(
                "open files are limited to %d; %d connections may need %d", most, connections, wanted
            )
            wanted = most
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _serve_alone(settings: Settings, listening: socket.socket) -> None:
    server = _Server(uvicorn.Config(_APPLICATION, **_uvicorn_options(settings)))
    with suppress(KeyboardInterrupt):
        server.run([listening])
    if not server.started:
        sys.exit(_START_FAILED)


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
    return {
        "factory": True,
        "http": Connection,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # nothing here looks at a client's address or scheme
        "ws": "none",
        "timeout_keep_alive": settings.keep_alive_seconds,
        "timeout_graceful_shutdown": settings.shutdown_seconds,
        "timeout_worker_healthcheck": _SILENT_SECONDS,
    }


def application() -> FastAPI:
    """Returns the application of a serving process; called in each."""
    settings = Settings()
    set_up_logging(settings.log_level, settings.log_format)
    return create_app(settings)


def _share(directory: str) -> None:
    """Names the directory through which serving processes tell each other numbers and states."""
    os.environ.setdefault(SHARED_DIRECTORY, directory)
    os.environ.setdefault("WHITEBOX_STATE_DIR", directory)
