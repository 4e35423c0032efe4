"""Requests that are ready at the same time go through the model together.

Nobody waits for company: what one turn of the event loop has read is inferred at its end. An idle service
therefore answers a single image at once. A busy one infers in batches, which cost half as much an image, and
in a thread of their own: onnxruntime lets go of the interpreter, and the event loop meanwhile answers the
batch before and reads the one after. A batch is half of what waits, so that neither stands still for long
(docs/decisions/0012).
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from service.http.problems import DeadlineExceeded, QueueFull
from service.inference.engine import AT_ONCE, Array, Images
from service.telemetry import metrics

# A request with more images goes alone, a share to each core.
_TOGETHER = 64
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Fewer images are inferred on the event loop: handing them to an idle thread costs more than they take.
# So are all where there is only one core to run on.
_WORTH_A_THREAD = 4 if _CORES > 1 else _TOGETHER + 1
# Half of what waits goes together, but no fewer images than this.
_BATCH_AT_LEAST = 8
# Batches that the thread is given at once, so that it need not wait for the event loop between two.
_AHEAD = 2
_RETRY_AFTER = {"Retry-After": "1"}
# One for all models: more would compete for the core. Large requests wait in threads of their own.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="inference")
_SHARES = ThreadPoolExecutor(_CORES, thread_name_prefix="share")

Answer = tuple[Array, Array]
# What is called once with the answer, or with what went wrong.
Done = Callable[[Answer | Exception], None]

_DEPTH = metrics.QUEUE_DEPTH.labels("predict")
_WAIT = metrics.tally(metrics.QUEUE_SECONDS.labels("predict"))
_BATCH = metrics.tally(metrics.BATCH_IMAGES)


class Waiting:
    """The images of one request while they wait for their answer.

    Attributes:
        images: (N, 28, 28) float32 in [0, 1].
        since: When they came, `time.monotonic()`.
        deadline: When it is too late, likewise.
    """

    __slots__ = ("_done", "_room", "deadline", "images", "since")

    def __init__(self, images: Images, deadline: float, done: Done, room: "WaitingRoom") -> None:
        self.images, self.deadline, self.since = images, deadline, time.monotonic()
        self._done: Done | None = done
        self._room = room
        room.enter(len(images))

    @property
    def left(self) -> bool:
        """Whether nobody waits any more."""
        return self._done is None

    def leave(self) -> None:
        """Waits no longer; what has not begun is not inferred."""
        if self._done is not None:
            self._done = None
            self._room.leave(len(self.images))

    def settle(self, found: "Answer | Exception") -> None:
        """Hands the answer, or what went wrong, to whoever still waits."""
        done = self._done
        self.leave()
        if done is not None:
            done(found)


class WaitingRoom:
    """Counts the images that wait for inference, over all models of a process.

    Args:
        most: Images that may wait; a single request is always let in.
    """

    def __init__(self, most: int) -> None:
        self._most, self._images = most, 0

    def enter(self, images: int) -> None:
        """Lets images in.

        Raises:
            QueueFull: Too many are waiting.
        """
        if self._images and self._images + images > self._most:
            raise QueueFull(f"{self._images} images are waiting already.", headers=_RETRY_AFTER)
        self._images += images
        _DEPTH.set(self._images)

    def leave(self, images: int) -> None:
        """Lets images out."""
        self._images -= images
        _DEPTH.set(self._images)


class Batcher:
    """Infers for many requests at once.

    Args:
        infer: Maps images (N, 28, 28) to logits and probabilities (N, classes).
        room: Where the images wait.
    """

    def __init__(self, infer: Callable[[Images], Answer], room: WaitingRoom) -> None:
        self._infer, self._room = infer, room
        self._waiting: deque[Waiting] = deque()
        self._in_thread = 0  # batches, at most _AHEAD
        self._alone: set[asyncio.Future[None]] = set()

    async def predict(self, images: Images, deadline: float) -> Answer:
        """Returns logits and probabilities of images (N, 28, 28).

        Args:
            images: The images of one request.
            deadline: A `time.monotonic()` value.

        Raises:
            QueueFull: Too many images are waiting.
            DeadlineExceeded: The time ran out before their turn came.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = self.submit(images, deadline, partial(_settle, answer))
        try:
            return await answer
        finally:
            waiting.leave()

    def submit(self, images: Images, deadline: float, done: Done) -> Waiting:
        """Lets images (N, 28, 28) wait for their answer, as `predict`, which `done` gets.

        Raises:
            QueueFull: Too many images are waiting.
        """
        waiting = Waiting(images, deadline, done, self._room)
        if len(images) > _TOGETHER:
            task = asyncio.ensure_future(self._infer_alone(waiting))
            self._alone.add(task)  # or else nobody would hold it
            task.add_done_callback(self._alone.discard)
            return waiting
        if not self._waiting and self._in_thread < _AHEAD:
            asyncio.get_running_loop().call_soon(self._infer_waiting)
        self._waiting.append(waiting)
        return waiting

    async def _infer_alone(self, waiting: Waiting) -> None:
        loop = asyncio.get_running_loop()
        _BATCH.observe(len(waiting.images))
        shares = np.array_split(waiting.images, min(_CORES, len(waiting.images) // _TOGETHER))
        try:
            found = await asyncio.gather(
                *(loop.run_in_executor(_SHARES, self._infer_share, waiting, share) for share in shares)
            )
        except Exception as error:
            waiting.settle(error)
        else:
            logits, probabilities = map(np.concatenate, zip(*found, strict=True))
            waiting.settle((logits, probabilities))

    def _infer_share(self, waiting: Waiting, share: Images) -> Answer:
        now = time.monotonic()
        _WAIT.observe(now - waiting.since)
        if waiting.left or now > waiting.deadline:
            raise _too_late()
        return self._infer(share)

    def _infer_waiting(self) -> None:
        while self._in_thread < _AHEAD and (batch := self._next_batch()):
            images = batch[0].images if len(batch) == 1 else np.concatenate([one.images for one in batch])
            _BATCH.observe(len(images))
            if not self._in_thread and len(images) < _WORTH_A_THREAD:
                self._infer_here(batch, images)
                return
            self._infer_in_thread(batch, images)

    def _infer_in_thread(self, batch: list[Waiting], images: Images) -> None:
        self._in_thread += 1
        found = asyncio.get_running_loop().run_in_executor(_THREAD, self._infer, images)
        found.add_done_callback(partial(self._come_back, batch))

    def _infer_here(self, batch: list[Waiting], images: Images) -> None:
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._infer_waiting)  # when others have had their turn
        try:
            answers = self._infer(images)
        except Exception as error:  # each request gets it as its own
            _fail(batch, error)
        else:
            _deliver(batch, answers)

    def _next_batch(self) -> list[Waiting]:
        now = time.monotonic()
        batch: list[Waiting] = []
        images, wanted = 0, min(max(_BATCH_AT_LEAST, len(self._waiting) // 2), AT_ONCE)
        while self._waiting and images < wanted:
            one = self._waiting.popleft()
            if one.left:
                continue
            _WAIT.observe(now - one.since)
            if now > one.deadline:
                one.settle(_too_late())
            else:
                batch.append(one)
                images += len(one.images)
        return batch

    def _come_back(self, batch: list[Waiting], found: "asyncio.Future[Answer]") -> None:
        self._in_thread -= 1
        self._infer_waiting()  # before anything else, so that the other core has work
        if found.cancelled():  # the loop ends
            return
        if isinstance(outcome := _outcome(found), Exception):
            _fail(batch, outcome)
        else:
            _deliver(batch, outcome)


def _outcome(found: "asyncio.Future[Answer]") -> Answer | Exception:
    error = found.exception()
    if isinstance(error, Exception):
        return error
    return found.result()  # raises what is no Exception


def _deliver(batch: list[Waiting], answers: Answer) -> None:
    logits, probabilities = answers
    start = 0
    for one in batch:
        end = start + len(one.images)
        one.settle((logits[start:end], probabilities[start:end]))
        start = end


def _fail(batch: list[Waiting], error: Exception) -> None:
    for one in batch:
        one.settle(error)


def _settle(answer: "asyncio.Future[Answer]", found: Answer | Exception) -> None:
    if answer.done():  # whoever asked was cancelled
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The request's time ran out while it waited for inference.")
