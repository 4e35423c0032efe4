"""What a serving process does before its first request and after its last."""

import asyncio
import gc
import logging
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from service.api.dependencies import ServiceState
from service.inference.model_repository import ServedModel
from service.telemetry.metrics import flush_periodically

if TYPE_CHECKING:
    from service.telemetry.tracing import Tracing

_LOGGER = logging.getLogger("service")
# How long a thread in Python code may keep the event loop waiting for the interpreter; Python's own is 5 ms.
# Alone it did not help against explanations that nobody reads; the rest of what did was measured with it.
_SWITCH_SECONDS = 5e-4


@asynccontextmanager
async def running(state: ServiceState, tracing: "Tracing | None") -> AsyncIterator[None]:
    """Loads the models, starts the workers and is ready; then drains and stops all of it."""
    await state.models.load_all()
    state.attacks.start()
    state.certificates.start()
    watch = _watch(state)
    periodically = [
        asyncio.create_task(flush_periodically()),
        asyncio.create_task(state.connections.sweep_periodically()),
    ]
    _collect_less_garbage()
    sys.setswitchinterval(_SWITCH_SECONDS)
    state.ready = True
    _LOGGER.info("ready: %s", ", ".join(map(_named, state.models)))
    try:
        with _unready_before_the_end(state):
            yield
    finally:
        state.ready = False
        watch.cancel()
        await asyncio.wait([watch])  # a package on trial ends with it
        for task in periodically:
            task.cancel()
        await state.attacks.stop()
        await state.certificates.stop()
        if tracing is not None:
            await asyncio.to_thread(tracing.stop)


def _collect_less_garbage() -> None:
    """Spares requests the search for garbage, of which they make next to none (docs/decisions/0009)."""
    gc.collect()
    gc.freeze()  # what lives as long as the process need not be looked through again and again
    gc.set_threshold(20_000, 20, 20)


def _watch(state: ServiceState) -> asyncio.Task[None]:
    """Starts to look for changes of the model directory."""
    seconds = state.settings.models_poll_seconds
    return asyncio.create_task(state.models.watch(seconds) if seconds else asyncio.sleep(0))


@contextmanager
def _unready_before_the_end(state: ServiceState) -> Iterator[None]:
    """Makes SIGTERM turn readiness off first, so that a load balancer sends no more, and end it later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    end = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()

    def end_now(frame: FrameType | None) -> None:
        if callable(end):
            end(signal.SIGTERM, frame)

    def drain(_signal: int, frame: FrameType | None) -> None:
        state.ready = False
        if state.settings.drain_seconds:
            loop.call_soon_threadsafe(loop.call_later, state.settings.drain_seconds, end_now, frame)
        else:
            end_now(frame)

    signal.signal(signal.SIGTERM, drain)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, end)


def _named(model: ServedModel) -> str:
    return f"{model.package.name}/{model.package.version}"
