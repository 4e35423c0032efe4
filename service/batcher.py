"""Requests that are ready at the same time go through the model together.

Nobody waits for company: what one turn of the event loop has read is inferred at its end. An idle service
therefore answers a single image at once, a busy one in batches, which cost half as much an image, and in a
thread of their own: onnxruntime lets go of the interpreter, and the event loop reads the next requests
meanwhile.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from service import metrics
from service.engine import Array, Images
from service.problems import DeadlineExceeded, QueueFull

# Images that are inferred together; a request with more goes alone.
_TOGETHER = 64
# Fewer images are inferred on the event loop: handing them to a thread costs more than they take. So are
# all where there is only one core to run on.
_WORTH_A_THREAD = 4 if (os.cpu_count() or 1) > 1 else _TOGETHER + 1
_RETRY_AFTER = {"Retry-After": "1"}
# One for all models: more would compete for the core, and each would keep memory of its own.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="inference")

Answer = tuple[Array, Array]

_DEPTH = metrics.QUEUE_DEPTH.labels("predict")
_WAIT = metrics.QUEUE_SECONDS.labels("predict")


class _Waiting(NamedTuple):
    images: Images
    answer: "asyncio.Future[Answer]"
    since: float
    deadline: float


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
        self._waiting: deque[_Waiting] = deque()
        self._in_thread = False

    async def predict(self, images: Images, deadline: float) -> Answer:
        """Returns logits and probabilities of images (N, 28, 28).

        Args:
            images: The images of one request.
            deadline: A `time.monotonic()` value.

        Raises:
            QueueFull: Too many images are waiting.
            DeadlineExceeded: The time ran out before their turn came.
        """
        self._room.enter(len(images))
        try:
            since = time.monotonic()
            if len(images) > _TOGETHER:
                return await asyncio.to_thread(self._alone, images, since, deadline)
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[Answer] = loop.create_future()
            if not self._waiting and not self._in_thread:
                loop.call_soon(self._infer_waiting)
            self._waiting.append(_Waiting(images, answer, since, deadline))
            return await answer
        finally:
            self._room.leave(len(images))

    def _alone(self, images: Images, since: float, deadline: float) -> Answer:
        now = time.monotonic()
        _WAIT.observe(now - since)
        if now > deadline:
            raise _too_late()
        metrics.BATCH_IMAGES.observe(len(images))
        return self._infer(images)

    def _infer_waiting(self) -> None:
        batch = self._next_batch()
        if not batch:
            return
        images = batch[0].images if len(batch) == 1 else np.concatenate([one.images for one in batch])
        metrics.BATCH_IMAGES.observe(len(images))
        loop = asyncio.get_running_loop()
        if len(images) >= _WORTH_A_THREAD:
            self._in_thread = True
            found = loop.run_in_executor(_THREAD, self._infer, images)
            found.add_done_callback(partial(self._come_back, batch))
            return
        if self._waiting:
            loop.call_soon(self._infer_waiting)
        try:
            answers = self._infer(images)
        except Exception as error:  # each request gets it as its own
            _fail(batch, error)
        else:
            _deliver(batch, answers)

    def _next_batch(self) -> list[_Waiting]:
        now = time.monotonic()
        batch: list[_Waiting] = []
        images = 0
        while self._waiting and images < _TOGETHER:
            one = self._waiting.popleft()
            if one.answer.cancelled():
                continue
            _WAIT.observe(now - one.since)
            if now > one.deadline:
                one.answer.set_exception(_too_late())
            else:
                batch.append(one)
                images += len(one.images)
        return batch

    def _come_back(self, batch: list[_Waiting], found: "asyncio.Future[Answer]") -> None:
        self._in_thread = False
        self._infer_waiting()  # before anything else, so that the other core has work
        if found.cancelled():  # the loop ends
            return
        if (error := found.exception()) is not None:
            _fail(batch, error)
        else:
            _deliver(batch, found.result())


def _deliver(batch: list[_Waiting], answers: Answer) -> None:
    logits, probabilities = answers
    start = 0
    for one in batch:
        end = start + len(one.images)
        if not one.answer.cancelled():  # whoever asked may have left
            one.answer.set_result((logits[start:end], probabilities[start:end]))
        start = end


def _fail(batch: list[_Waiting], error: BaseException) -> None:
    for one in batch:
        if not one.answer.cancelled():
            one.answer.set_exception(error)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The request's time ran out while it waited for inference.")
