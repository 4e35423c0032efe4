"""A pool of worker processes for what needs torch, with a bounded queue before it.

Workers that die or hang are killed and replaced. A pool whose workers cannot start refuses requests at once,
says why, and goes on trying.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from service.errors import (
    DeadlineExceeded,
    InternalError,
    ModelNotLoadable,
    QueueFull,
    WorkerLost,
    WorkersUnavailable,
)
from service.telemetry import metrics
from service.workers.process import Progress, WorkerProcess, WorkerStartError, ignore_progress

__all__ = ["PoolStatus", "Progress", "WorkerPool", "ignore_progress"]

_LOGGER = logging.getLogger("service")
# How long a worker may take beyond a message's own deadline, or to heed a cancellation.
_GRACE_SECONDS = 2.0
# Between starts that fail, each twice as long as the one before.
_FIRST_PAUSE_SECONDS = 1.0
_MOST_DOUBLINGS = 6
# What a worker imports that serving alone does not need.
_WORKER_MODULES = ("torch", "safetensors", "scipy", "foolbox", "pyautoattack")

PoolState = Literal["off", "starting", "ready", "unavailable"]


@dataclass(frozen=True)
class PoolStatus:
    """How a pool does.

    Attributes:
        state: `off`: the settings ask for no worker; `starting`: requests wait for the first; `ready`;
            `unavailable`: no worker can start, requests are refused.
        ready: Workers that are ready or at work.
        wanted: Workers that the settings ask for.
        reason: Why it is unavailable.
    """

    state: PoolState
    ready: int
    wanted: int
    reason: str | None = None


async def _answer(
    worker: WorkerProcess, message: dict[str, Any], deadline: float, on_progress: Progress
) -> dict[str, Any]:
    seconds = max(0.0, deadline - time.monotonic())
    await worker.send({**message, "seconds": seconds})
    async with asyncio.timeout(seconds + _GRACE_SECONDS):
        return await worker.result(on_progress)


def _numbered(on_progress: Progress, index: int) -> Progress:
    return lambda progress: on_progress({"index": index, **progress})


class WorkerPool:
    """Sends messages of one kind to worker processes of their own.

    Args:
        work: What the workers do, in the plural, as problems and metrics name it.
        workers: Processes; 0 refuses every request.
        queue: Requests that may wait for a worker.
    """

    def __init__(self, work: str, workers: int, queue: int) -> None:
        self._work = work
        self._wanted, self._queue = workers, queue
        # None wakes a waiting request, which then looks at the status again.
        self._idle: asyncio.Queue[WorkerProcess | None] = asyncio.Queue()
        self._starting: set[asyncio.Task[None]] = set()
        self._workers: set[WorkerProcess] = set()
        self._waiting = 0
        self._failed_starts = 0
        self._failure: str | None = None
        metrics.budget(f"waiting {work}", queue, lambda: self._waiting)

    def start(self) -> None:
        """Starts the workers in the background; requests wait for the first that is ready."""
        metrics.WORKERS.labels(self._work).set(0)
        missing = [module for module in _WORKER_MODULES if find_spec(module) is None]
        if self._wanted and missing:
            self._note_failure(f"{missing[0]} is not installed: pip install 'whitebox-serving[attack]'")
        else:
            self._start_missing()

    async def stop(self) -> None:
        """Kills all workers; none is started any more."""
        self._wanted = 0
        self._wake_waiting()
        for task in list(self._starting):
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        while self._workers:
            await self._workers.pop().kill()

    def status(self) -> PoolStatus:
        """Returns whether requests are answered, and why not."""
        state: PoolState = "starting"
        if self._wanted == 0:
            state = "off"
        elif self._workers:
            state = "ready"
        elif self._failure is not None:
            state = "unavailable"
        reason = self._failure if state == "unavailable" else None
        return PoolStatus(state, len(self._workers), self._wanted, reason)

    def process_ids(self) -> list[int]:
        """Returns the ids of the processes that are ready."""
        return [worker.process.pid for worker in self._workers]

    async def run(
        self, messages: Sequence[dict[str, Any]], deadline: float, on_progress: Progress = ignore_progress
    ) -> list[dict[str, Any]]:
        """Sends messages one after the other to one worker; cancelling this call cancels the work.

        Args:
            messages: As `service.workers.messages` makes them.
            deadline: A `time.monotonic()` value; what is running stops then with what it has, and
                what comes after it with nothing tried.
            on_progress: Called now and then with the index of a message, its queries and margin so far.

        Raises:
            QueueFull: Too many requests are waiting.
            WorkersUnavailable: There are no workers, or they cannot start.
            DeadlineExceeded: No worker was free in time.
            WorkerLost: The worker died, or hung and was killed.
            ModelNotLoadable: The package's weights are not what they should be.
        """
        async with self._borrowed(deadline) as worker:
            answers = [
                await _answer(worker, message, deadline, _numbered(on_progress, index))
                for index, message in enumerate(messages)
            ]
        for answer in answers:
            if "package_error" in answer:
                raise ModelNotLoadable(answer["package_error"])
            if "error" in answer:
                _LOGGER.error("%s failed: %s", self._work, answer["error"])
                raise InternalError()
        return [answer["result"] for answer in answers]

    @asynccontextmanager
    async def _borrowed(self, deadline: float) -> AsyncIterator[WorkerProcess]:
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

    async def _take(self, deadline: float) -> WorkerProcess:
        self._refuse_unless_available()
        if self._idle.empty() and self._waiting >= self._queue:
            raise QueueFull(
                f"{self._waiting} {self._work} are waiting already.", headers={"Retry-After": "5"}
            )
        self._wait(+1)
        since = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await self._next_idle()
        except TimeoutError:
            raise DeadlineExceeded(f"No worker for {self._work} was free in time.") from None
        finally:
            self._wait(-1)
            metrics.QUEUE_SECONDS.labels(self._work).observe(time.monotonic() - since)

    async def _next_idle(self) -> WorkerProcess:
        while True:
            worker = await self._idle.get()
            if worker is None:
                self._refuse_unless_available()
            elif worker.has_ended():
                await self._replace(worker)  # it died while it was idle: nobody's request
            else:
                return worker

    def _refuse_unless_available(self) -> None:
        status = self.status()
        if status.state == "off":
            raise WorkersUnavailable(f"The settings of this service ask for no worker for {self._work}.")
        if status.state == "unavailable":
            raise WorkersUnavailable(f"No worker for {self._work} can start here: {status.reason}.")

    def _wait(self, change: int) -> None:
        self._waiting += change
        metrics.QUEUE_DEPTH.labels(self._work).set(self._waiting)

    async def _cancel(self, worker: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await worker.send({"cancel": True})
                await worker.result(ignore_progress)
        except (EOFError, TimeoutError):
            await self._replace(worker)
        else:
            self._idle.put_nowait(worker)

    async def _replace(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        metrics.WORKERS_REPLACED.labels(self._work).inc()
        metrics.WORKERS.labels(self._work).set(len(self._workers))
        await worker.kill()
        self._start_missing()

    def _start_missing(self) -> None:
        for _ in range(self._wanted - len(self._workers) - len(self._starting)):
            task = asyncio.create_task(self._start_one())
            self._starting.add(task)
            task.add_done_callback(self._after_start)

    def _after_start(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        self._start_missing()

    async def _start_one(self) -> None:
        if self._failed_starts:
            doublings = min(self._failed_starts - 1, _MOST_DOUBLINGS)
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**doublings)
        try:
            worker = await WorkerProcess.start()
        except WorkerStartError as error:
            self._note_failure(str(error))
            return
        self._failed_starts, self._failure = 0, None
        self._workers.add(worker)
        metrics.WORKERS.labels(self._work).set(len(self._workers))
        self._idle.put_nowait(worker)

    def _note_failure(self, reason: str) -> None:
        """Makes the pool unavailable if no worker is left, and lets waiting requests know."""
        if reason != self._failure:  # once, not at each further try
            _LOGGER.error("no worker for %s can start: %s", self._work, reason)
        self._failed_starts += 1
        self._failure = reason
        metrics.WORKER_START_FAILURES.labels(self._work).inc()
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        for _ in range(self._waiting):
            self._idle.put_nowait(None)
