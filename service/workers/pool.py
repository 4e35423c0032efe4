"""Worker processes for what needs torch: a bounded queue before them, killed and replaced when they hang."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from service.errors import DeadlineExceeded, InternalError, QueueFull, WorkerLost, WorkersUnavailable
from service.telemetry import metrics

_LOGGER = logging.getLogger("service")
# How long a worker may take beyond the job's own deadline, or to heed a cancellation.
_GRACE_SECONDS = 2.0
# On a busy machine niced workers load torch slowly, and starting over would not be faster.
_START_SECONDS = 300.0
# A line holds a whole job or result: some hundred images as text.
_LONGEST_LINE = 2**24
# After so many starts in a row that failed, only a request makes the pool try again.
_MOST_FAILED_STARTS = 3
# Predictions come first: the kernel gives a worker, and the loading of torch, only what they leave.
_NICENESS = 10

Progress = Callable[[dict[str, Any]], None]


def ignore_progress(_: dict[str, Any]) -> None:
    """Does nothing; the default."""


class _Worker:
    """One process that runs one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self._stdin, self._stdout = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, packages: Sequence[Path]) -> "_Worker":
        """Starts a process and waits until it has loaded the packages."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.workers.worker",
            *map(str, packages),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        worker = cls(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker.receive()
        except BaseException:
            await worker.kill()
            raise
        return worker

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
        """Reads messages up to the one that ends the job."""
        while "progress" in (message := await self.receive()):
            on_progress(message["progress"])
        return message

    async def kill(self) -> None:
        """Ends the process at once."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


async def _run_one(
    worker: _Worker, job: dict[str, Any], deadline: float, on_progress: Progress
) -> dict[str, Any]:
    seconds = max(0.0, deadline - time.monotonic())
    await worker.send({**job, "seconds": seconds})
    async with asyncio.timeout(seconds + _GRACE_SECONDS):
        return await worker.result(on_progress)


def _numbered(on_progress: Progress, index: int) -> Progress:
    return lambda progress: on_progress({"index": index, **progress})


class WorkerPool:
    """Runs jobs of one kind in worker processes of their own.

    Args:
        work: What the jobs are, in the plural, as problems name them.
        packages: Tells the directories of the packages that a new worker loads.
        workers: Processes; 0 refuses every job.
        queue: Requests that may wait for a worker.
    """

    def __init__(self, work: str, packages: Callable[[], Sequence[Path]], workers: int, queue: int) -> None:
        self._work = work
        self._packages, self._count, self._queue = packages, workers, queue
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._starting: set[asyncio.Task[None]] = set()
        self._workers: set[_Worker] = set()
        self._waiting = 0
        self._failed_starts = 0

    def start(self) -> None:
        """Starts the workers in the background; requests wait for the first that is ready."""
        self._start_missing()

    async def stop(self) -> None:
        """Kills all workers; none is started any more."""
        self._count = 0
        for task in list(self._starting):
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        while self._workers:
            await self._workers.pop().kill()

    def process_ids(self) -> list[int]:
        """Returns the ids of the processes that are ready."""
        return [worker.process.pid for worker in self._workers]

    def gave_up(self) -> bool:
        """Tells whether so many starts in a row failed that only a request makes it try again."""
        return self._failed_starts >= _MOST_FAILED_STARTS

    async def run(
        self, jobs: Sequence[dict[str, Any]], deadline: float, on_progress: Progress = ignore_progress
    ) -> list[dict[str, Any]]:
        """Runs jobs one after the other in one worker; cancelling this call cancels the work.

        Args:
            jobs: As `service.workers.worker` reads them.
            deadline: A `time.monotonic()` value; a running job stops then with what it has, and
                those after it with nothing tried.
            on_progress: Called now and then with the index of a job, its queries and margin so far.

        Raises:
            QueueFull: Too many requests are waiting.
            WorkersUnavailable: There are no workers, or they cannot start.
            DeadlineExceeded: No worker was free in time.
            WorkerLost: The worker died, or hung and was killed.
        """
        async with self._borrowed(deadline) as worker:
            messages = [
                await _run_one(worker, job, deadline, _numbered(on_progress, index))
                for index, job in enumerate(jobs)
            ]
        for message in messages:
            if "error" in message:
                _LOGGER.error("%s failed: %s", self._work, message["error"])
                raise InternalError()
        return [message["result"] for message in messages]

    @asynccontextmanager
    async def _borrowed(self, deadline: float) -> AsyncIterator[_Worker]:
        """Lends a worker; one that is gone, hangs or does not heed a cancellation is replaced."""
        worker = await self._take(deadline)
        try:
            yield worker
        except (EOFError, TimeoutError) as error:
            await self._replace(worker)
            raise WorkerLost(
                "The process that worked on this request died or hung, and was replaced. Other requests "
                "are not affected; this one can be sent again."
            ) from error
        except asyncio.CancelledError:
            await self._cancel(worker)
            raise
        except BaseException:
            await self._replace(worker)
            raise
        else:
            self._idle.put_nowait(worker)

    async def _take(self, deadline: float) -> _Worker:
        if self._count == 0 or (self.gave_up() and not self._workers):
            self._start_missing()  # what kept them from starting may be over
            raise WorkersUnavailable(
                f"No worker for {self._work} runs here: there are none in the settings, or they cannot "
                f"start (is the extra [attack] installed?); the service's log has more."
            )
        if self._idle.empty() and self._waiting >= self._queue:
            raise QueueFull(
                f"{self._waiting} {self._work} are waiting already.", headers={"Retry-After": "5"}
            )
        self._wait(+1)
        since = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                while (worker := await self._idle.get()).process.returncode is not None:
                    await self._replace(worker)  # it died while it was idle: nobody's request
                return worker
        except TimeoutError:
            raise DeadlineExceeded(f"No worker for {self._work} was free in time.") from None
        finally:
            self._wait(-1)
            metrics.QUEUE_SECONDS.labels(self._work).observe(time.monotonic() - since)

    def _wait(self, change: int) -> None:
        self._waiting += change
        metrics.QUEUE_DEPTH.labels(self._work).set(self._waiting)

    async def _cancel(self, worker: _Worker) -> None:
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await worker.send({"cancel": True})
                await worker.result(ignore_progress)
        except (EOFError, TimeoutError):
            await self._replace(worker)
        else:
            self._idle.put_nowait(worker)

    async def _replace(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        metrics.WORKERS_REPLACED.labels(self._work).inc()
        metrics.WORKERS.labels(self._work).set(len(self._workers))
        await worker.kill()
        self._start_missing()

    def _start_missing(self) -> None:
        for _ in range(self._count - len(self._workers) - len(self._starting)):
            task = asyncio.create_task(self._start_one())
            self._starting.add(task)
            task.add_done_callback(self._after_start)

    def _after_start(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if not self.gave_up():
            self._start_missing()

    async def _start_one(self) -> None:
        try:
            worker = await _Worker.start(self._packages())
        except (EOFError, TimeoutError, OSError, ValueError) as error:  # the last: it said no JSON
            self._failed_starts += 1
            _LOGGER.error("a worker for %s did not start: %s", self._work, error or type(error).__name__)
            return
        self._failed_starts = 0
        self._workers.add(worker)
        metrics.WORKERS.labels(self._work).set(len(self._workers))
        self._idle.put_nowait(worker)
