"""One worker process, as the service sees it: started, sent messages, killed."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import orjson

# On a busy machine niced workers load torch slowly, and starting over would not be faster.
_START_SECONDS = 300.0
# Between the end of what a process says and its own.
_EXIT_SECONDS = 5.0
# A line holds a whole message: some hundred images as text.
_LONGEST_LINE = 2**24
# Predictions come first: the kernel gives a worker, and the loading of torch, only what they leave.
_NICENESS = 10

Progress = Callable[[dict[str, Any]], None]


def ignore_progress(_: dict[str, Any]) -> None:
    """Does nothing; the default."""


class WorkerStartError(Exception):
    """A worker process did not start; the text is fit for a client."""


class WorkerProcess:
    """A process that answers one message at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self._stdin, self._stdout = process, process.stdin, process.stdout

    @classmethod
    async def start(cls) -> "WorkerProcess":
        """Starts a process and waits until it is ready.

        Raises:
            WorkerStartError: It cannot be started, ended, or is not ready in time.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # a model.py or json.py in the working directory is not ours
                "-m",
                "service.workers.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
                start_new_session=True,  # Ctrl+C on a terminal is for the service, which ends its workers
            )
        except OSError as error:
            raise WorkerStartError(f"no process could be created ({error.strerror})") from error
        _lower_priority(process.pid)
        worker = cls(process)
        try:
            await worker._wait_until_ready()
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self.receive()
        except TimeoutError:
            raise WorkerStartError(f"it was not ready after {_START_SECONDS:.0f} s") from None
        except (EOFError, OSError, ValueError) as error:  # the last: it said no JSON
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_SECONDS):
                    await self.process.wait()
            code = self.process.returncode
            raise WorkerStartError(
                f"it ended while it started (exit code {code}); the service's log has its last words"
            ) from error

    def has_ended(self) -> bool:
        """Tells whether the process is gone."""
        return self.process.returncode is not None

    async def send(self, message: dict[str, Any]) -> None:
        """Writes one message.

        Raises:
            EOFError: The process is gone.
        """
        try:
            self._stdin.write(orjson.dumps(message) + b"\n")
            await self._stdin.drain()
        except ConnectionError as error:
            raise EOFError from error

    async def receive(self) -> dict[str, Any]:
        """Reads one message.

        Raises:
            EOFError: The process is gone.
        """
        line = await self._stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        message: dict[str, Any] = orjson.loads(line)
        return message

    async def result(self, on_progress: Progress) -> dict[str, Any]:
        """Reads messages up to the result."""
        while "progress" in (message := await self.receive()):
            on_progress(message["progress"])
        return message

    async def kill(self) -> None:
        """Ends the process at once."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


def _lower_priority(process_id: int) -> None:
    """Sets a niceness of 10; a service that is nicer itself has handed its own on already."""
    if os.getpriority(os.PRIO_PROCESS, 0) < _NICENESS:
        with contextlib.suppress(
            OSError
        ):  # it ended already, or the system forbids it: it works all the same
            os.setpriority(os.PRIO_PROCESS, process_id, _NICENESS)
