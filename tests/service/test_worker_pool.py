"""The pool of worker processes by itself: how it starts, gives up and comes back."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest
from running import PACKAGE

from service.errors import WorkersUnavailable
from service.inference.engine import Engine
from service.workers.messages import certify_job
from service.workers.pool import WorkerPool


async def _until(condition) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.05)


def test_a_pool_that_gave_up_starts_workers_again_when_asked(tmp_path, package, digits):
    directory = tmp_path / "mnist-3v5"
    job = certify_job(Engine(package), digits[0][:1], [3], 0.1, radius=False, counterexample=False)

    async def run(pool: WorkerPool):
        (result,) = await pool.run([job], time.monotonic() + 60)
        return result["assessments"]

    async def scenario():
        pool = WorkerPool("certificates", lambda: [directory], workers=1, queue=1)
        pool.start()
        try:
            await _until(pool.gave_up)
            with pytest.raises(WorkersUnavailable):  # still nothing to load: refused, and tried again
                await run(pool)
            shutil.copytree(PACKAGE, directory)
            with pytest.raises(WorkersUnavailable):
                await run(pool)
            await _until(pool.process_ids)
            return await run(pool)
        finally:
            await pool.stop()

    (assessment,) = asyncio.run(scenario())
    assert assessment["verdict"] == "certified"


def test_a_stopped_pool_leaves_no_process_and_starts_none():
    async def scenario():
        pool = WorkerPool("certificates", lambda: [PACKAGE], workers=2, queue=1)
        pool.start()
        await _until(pool.process_ids)
        processes = pool.process_ids()
        await pool.stop()
        assert not [process for process in processes if Path(f"/proc/{process}").exists()]
        assert not pool.process_ids()
        with pytest.raises(WorkersUnavailable):
            await pool.run([], time.monotonic() + 1)

    asyncio.run(scenario())
