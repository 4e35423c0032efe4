"""Requests that are ready at the same time go through the model together.

There is no batching window: what one iteration of the event loop has read is inferred at its end. An idle
service therefore answers a single image at once. A busy one infers in batches, which cost half as much an
image, and in a thread of their own: onnxruntime lets go of the interpreter, and the event loop meanwhile
answers the batch before and reads the one after. A batch is half of what waits, so that neither stands still
for long (docs/decisions/0009).
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codecs.serialization import Predicted
from service.errors import DeadlineExceeded, QueueFull
from service.inference.engine import AT_ONCE, Images
from service.telemetry import metrics

# Of requests: lists have double precision. Batches have what the graphs take.
Numbers = NDArray[np.floating[Any]]

# A request with more images goes alone, a share to each core.
_MAX_TOGETHER = 64
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Fewer images are inferred on the event loop: handing them to an idle thread costs more than they take.
# So are all where there is only one core to run on.
_MIN_FOR_THREAD = 4 if _CORES > 1 else _MAX_TOGETHER + 1
# Half of what waits goes together, but no fewer images than this.
_MIN_BATCH = 8
# Batches that the thread is given at once, so that it need not wait for the event loop between two.
_MAX_IN_THREAD = 2
_RETRY_AFTER = {"Retry-After": "1"}
# One for all models: more would compete for the core. Large requests wait in threads of their own.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="inference")
_SHARE_THREADS = ThreadPoolExecutor(_CORES, thread_name_prefix="share")

_WAIT = metrics.buffered(metrics.QUEUE_SECONDS.labels("predict"))
_BATCH = metrics.buffered(metrics.BATCH_IMAGES)


class PendingRequest:
    """The images of one request that wait for inference.

    Attributes:
        images: (N, H, W) in [0, 1].
        deadline: A `time.monotonic()` value.
        queued_at: Likewise.
        outputs: Gets what the model says of them; cancelled when nobody waits any more.
    """

    __slots__ = ("deadline", "images", "outputs", "queued_at")

    def __init__(self, images: Numbers, deadline: float, outputs: "asyncio.Future[Predicted]") -> None:
        self.images, self.deadline, self.queued_at = images, deadline, time.monotonic()
        self.outputs = outputs

    def resolve(self, outputs: Predicted) -> None:
        """Hands over the outputs."""
        if not self.outputs.done():
            self.outputs.set_result(outputs)

    def fail(self, error: Exception) -> None:
        """Hands over what went wrong."""
        if not self.outputs.done():
            self.outputs.set_exception(error)


class QueueLimit:
    """Limits the images that wait for inference, over all models of a process.

    Args:
        max_images: Images that may wait; a single request is always accepted. Large requests may have
            three quarters of them together, so that they never shut small ones out.
    """

    def __init__(self, max_images: int) -> None:
        self._max_images, self._images = max_images, 0
        metrics.sample(metrics.QUEUE_DEPTH.labels("predict"), lambda: self._images)
        metrics.budget("waiting images", max_images, lambda: self._images)

    def acquire(self, images: int) -> None:
        """Counts images that begin to wait.

        Raises:
            QueueFull: Too many are waiting.
        """
        most = self._max_images * 3 // 4 if images > _MAX_TOGETHER else self._max_images
        if self._images and self._images + images > most:
            raise QueueFull(f"{self._images} images are waiting already.", headers=_RETRY_AFTER)
        self._images += images

    def release(self, images: int) -> None:
        """Counts images that wait no longer."""
        self._images -= images


class Batcher:
    """Infers for many requests at once.

    Args:
        infer: Maps images (N, H, W) to what the model says of them.
        limit: Of the images that wait.
    """

    def __init__(self, infer: Callable[[Images], Predicted], limit: QueueLimit) -> None:
        self._infer, self._limit = infer, limit
        self._queue: deque[PendingRequest] = deque()
        self._in_thread = 0  # batches, at most _MAX_IN_THREAD

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of all requests; to ask which one it is costs a system call in Python 3.11."""
        return asyncio.get_running_loop()

    async def predict(self, images: Numbers, deadline: float) -> Predicted:
        """Returns what the model says of images (N, H, W).

        Args:
            images: The images of one request.
            deadline: A `time.monotonic()` value.

        Raises:
            QueueFull: Too many images are waiting.
            DeadlineExceeded: The time ran out before they were inferred.
        """
        count = len(images)
        self._limit.acquire(count)
        try:
            request = PendingRequest(images, deadline, self._loop.create_future())
            if count > _MAX_TOGETHER:
                return await self._infer_alone(request)
            if not self._queue and self._in_thread < _MAX_IN_THREAD:
                self._loop.call_soon(self._infer_queued)
            self._queue.append(request)
            return await request.outputs
        finally:
            self._limit.release(count)

    async def _infer_alone(self, request: PendingRequest) -> Predicted:
        _BATCH.observe(len(request.images))
        shares = np.array_split(request.images, min(_CORES, len(request.images) // _MAX_TOGETHER))
        outputs = await asyncio.gather(
            *(
                self._loop.run_in_executor(_SHARE_THREADS, self._infer_share, request, share)
                for share in shares
            )
        )
        return Predicted(*map(np.concatenate, zip(*outputs, strict=True)))

    def _infer_share(self, request: PendingRequest, share: Numbers) -> Predicted:
        now = time.monotonic()
        _WAIT.observe(now - request.queued_at)
        if now > request.deadline:
            raise _too_late()
        return self._infer(share.astype(np.float32, copy=False))

    def _infer_queued(self) -> None:
        """Starts as many batches as may be under way."""
        while self._in_thread < _MAX_IN_THREAD and (batch := self._next_batch()):
            images = [one.images for one in batch]
            count = sum(map(len, images))
            _BATCH.observe(count)
            if not self._in_thread and count < _MIN_FOR_THREAD:
                self._infer_here(batch, images)
                return
            self._infer_in_thread(batch, images)

    def _infer_in_thread(self, batch: list[PendingRequest], images: list[Numbers]) -> None:
        self._in_thread += 1
        outputs = self._loop.run_in_executor(_THREAD, self._infer_together, images)
        outputs.add_done_callback(partial(self._after_thread, batch))

    def _infer_here(self, batch: list[PendingRequest], images: list[Numbers]) -> None:
        if self._queue:
            self._loop.call_soon(self._infer_queued)  # when others have had their turn
        try:
            outputs = self._infer_together(images)
        except Exception as error:  # each request gets it as its own
            _fail(batch, error)
        else:
            _resolve(batch, outputs)

    def _infer_together(self, images: list[Numbers]) -> Predicted:
        return self._infer(np.concatenate(images, dtype=np.float32))

    def _next_batch(self) -> list[PendingRequest]:
        now = time.monotonic()
        batch: list[PendingRequest] = []
        images, wanted = 0, min(max(_MIN_BATCH, len(self._queue) // 2), AT_ONCE)
        while self._queue and images < wanted:
            request = self._queue.popleft()
            if request.outputs.done():  # cancelled: nobody waits any more
                continue
            _WAIT.observe(now - request.queued_at)
            if now > request.deadline:
                request.fail(_too_late())
            else:
                batch.append(request)
                images += len(request.images)
        return batch

    def _after_thread(self, batch: list[PendingRequest], outputs: "asyncio.Future[Predicted]") -> None:
        self._in_thread -= 1
        self._infer_queued()  # before anything else, so that the other core has work
        if outputs.cancelled():  # the loop ends
            return
        error = outputs.exception()
        if isinstance(error, Exception):
            _fail(batch, error)
        else:
            _resolve(batch, outputs.result())  # raises what is no Exception


def _resolve(batch: list[PendingRequest], outputs: Predicted) -> None:
    start = 0
    for request in batch:
        end = start + len(request.images)
        request.resolve(Predicted(*(values[start:end] for values in outputs)))
        start = end


def _fail(batch: list[PendingRequest], error: Exception) -> None:
    for request in batch:
        request.fail(error)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The request's time ran out while it waited for inference.")
