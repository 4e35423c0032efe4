"""Threads for work that would hold up the event loop."""

import asyncio
import os
import sys
import threading
import time

import pytest

from service.http.protection.threads import Threads


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_explanations_and_files_yield_to_the_event_loop_and_what_holds_the_interpreter_does_not():
    async def ask() -> dict[str, int]:
        threads = Threads(2, 2)
        return {
            kind: await threads.run(kind, time.monotonic() + 10, _niceness)
            for kind in ("parse", "unpack", "explain", "write")
        }

    own = _niceness()
    nicer = min(own + 10, 19)
    assert asyncio.run(ask()) == {"parse": own, "unpack": nicer, "explain": nicer, "write": own}


def test_where_the_system_forbids_another_priority_the_work_is_done_all_the_same(monkeypatch):
    def forbidden(which: int, who: int, priority: int) -> None:
        raise PermissionError

    async def ask() -> str:
        return await Threads(1, 1).run("explain", time.monotonic() + 10, lambda: "done")

    monkeypatch.setattr(os, "setpriority", forbidden)
    assert asyncio.run(ask()) == "done"
