"""Requests that are ready at the same time go through the model together.

Nobody waits for company: what one turn of the event loop has read is inferred at its end. An idle service
therefore answers a single image at once, a busy one in batches, which cost half as much an image.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from service import metrics
from service.engine import Array, Images
from service.problems import DeadlineExceeded, QueueFull

# Up to this many images are inferred on the event loop: 3 ms at most, less than handing over costs the rest.
_ON_THE_LOOP = 64
_RETRY_AFTER = {"Retry-After": "1"}

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
        self._waiting: list[_Waiting] = []

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
            if len(images) > _ON_THE_LOOP:
                return await asyncio.to_thread(self._alone, images, since, deadline)
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[Answer] = loop.create_future()
            if not self._waiting:
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
        now = time.monotonic()
        batch: list[_Waiting] = []
        while self._waiting and sum(len(one.images) for one in batch) < _ON_THE_LOOP:
            one = self._waiting.pop(0)
            if one.answer.cancelled():
                continue
            _WAIT.observe(now - one.since)
            if now > one.deadline:
                one.answer.set_exception(_too_late())
            else:
                batch.append(one)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._infer_waiting)
        if batch:
            self._infer_batch(batch)

    def _infer_batch(self, batch: list[_Waiting]) -> None:
        images = batch[0].images if len(batch) == 1 else np.concatenate([one.images for one in batch])
        metrics.BATCH_IMAGES.observe(len(images))
        try:
            logits, probabilities = self._infer(images)
        except Exception as error:  # each request gets it as its own
            for one in batch:
                one.answer.set_exception(error)
            return
        start = 0
        for one in batch:
            end = start + len(one.images)
            one.answer.set_result((logits[start:end], probabilities[start:end]))
            start = end


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The request's time ran out while it waited for inference.")
