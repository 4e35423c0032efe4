"""Threads for work that would hold up the event loop: some of each kind, so that no kind starves another.

A request's work comes in pieces that take turns with those of other requests: whoever brings one photograph
waits for a piece of each of those who bring a hundred, not for all of them.
"""

import asyncio
import contextvars
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Literal, TypeVar, get_args

from service.codecs.json_images import DecodedImages, OpenedImages
from service.errors import DeadlineExceeded, QueueFull
from service.telemetry import metrics

Result = TypeVar("Result")
Kind = Literal["parse", "unpack", "explain", "write"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
# JSON is read and written without letting go of the interpreter: a second thread would gain nothing, and
# every one more that waits for it keeps the event loop waiting longer (docs/threat-model.md).
_HOLD_THE_INTERPRETER: tuple[Kind, ...] = ("parse", "write")
# By how much explanations and files are nicer than the event loop, however nice that is.
_NICER = 10


class Threads:
    """Runs work of each kind in threads of its own; what holds the interpreter, in one.

    The others have a lower priority than the event loop where the system knows one for each thread.

    Args:
        threads: Of each other kind.
        queue: Requests of one kind that may wait for a thread.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._pools = dict.fromkeys(_HOLD_THE_INTERPRETER, ThreadPoolExecutor(1, thread_name_prefix="JSON"))
        for kind in set(_KINDS).difference(self._pools):
            self._pools[kind] = ThreadPoolExecutor(threads, kind, _let_others_go_first)
        self._requests = dict.fromkeys(_KINDS, 0)
        self._most = threads + queue
        for kind in _KINDS:
            metrics.budget(f"{kind} threads", self._most, partial(self._requests.__getitem__, kind))

    async def run(self, kind: Kind, deadline: float, work: Callable[[], Result]) -> Result:
        """Returns what `work` returns in a thread.

        Raises:
            QueueFull: Too many requests wait for a thread of this kind.
            DeadlineExceeded: The time is over; a piece that has begun ends by itself.
        """
        return (await self.run_in_turns(kind, deadline, (work,)))[0]

    async def run_or_here(
        self, here: bool, kind: Kind, deadline: float, work: Callable[[], Result]
    ) -> Result:
        """Runs what takes less time than a thread takes to be asked on the event loop; else see `run`."""
        return work() if here else await self.run(kind, deadline, work)

    async def run_in_turns(
        self, kind: Kind, deadline: float, pieces: Iterable[Callable[[], Result]]
    ) -> list[Result]:
        """Returns what each piece of a request's work returns in a thread, one after the other; see `run`."""
        if self._requests[kind] >= self._most:
            raise QueueFull(
                f"{self._most} requests have work of the kind {kind!r} already.", headers={"Retry-After": "1"}
            )
        self._requests[kind] += 1
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return [await self._in_thread(kind, piece) for piece in pieces]
        except TimeoutError:
            raise DeadlineExceeded("The request's time ran out before its work was done.") from None
        finally:
            self._requests[kind] -= 1

    async def decode(self, images: OpenedImages, deadline: float) -> DecodedImages:
        """Returns the images of a request; large files are unpacked in threads.

        Raises:
            InvalidInput: A file cannot be read.
            QueueFull: Too many requests wait for a thread.
            DeadlineExceeded: The time is over.
        """
        if images.are_quick:
            return images.decode()
        return images.join(await self.run_in_turns("unpack", deadline, images.pieces()))

    async def _in_thread(self, kind: Kind, piece: Callable[[], Result]) -> Result:
        context = contextvars.copy_context()  # log lines tell the request's id
        return await asyncio.get_running_loop().run_in_executor(self._pools[kind], context.run, piece)


def _let_others_go_first() -> None:
    """Lowers the priority of this thread: what it does lets go of the interpreter, so nobody waits for it.

    Of a thread that holds the interpreter everybody would wait all the longer.
    """
    if sys.platform == "linux":
        own = os.getpriority(os.PRIO_PROCESS, 0)
        with suppress(OSError):  # the system forbids it: it works all the same
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + _NICER)  # at most 19
