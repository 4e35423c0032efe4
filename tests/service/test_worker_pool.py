"""Worker processes: they start whatever lies around, and a pool whose workers cannot says so at once."""

import asyncio
import os
import time
from pathlib import Path

import httpx
import pytest
from running import metric, running_server, without_module, worker_ids

from service.errors import WorkersUnavailable
from service.inference.engine import Engine
from service.workers.messages import certify_message
from service.workers.pool import WorkerPool

FAST_ATTACK = {"attack": "fgsm", "epsilon": 0.01}
CERTIFICATE = {"epsilon": 0.1, "radius": False, "counterexample": False}
UNAVAILABLE = "urn:whitebox:problem:workers-unavailable"


async def _until(condition) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.05)


def _wait_for_pool(client: httpx.Client, pool: str, state: str) -> dict:
    for _ in range(1200):
        status = client.get("/v2/health/ready").json()["workers"][pool]
        if status["state"] == state:
            return status
        time.sleep(0.1)
    raise AssertionError(f"{pool} did not get {state}: {status}")


def test_a_pool_that_cannot_start_refuses_at_once_and_starts_once_it_can(monkeypatch, package, digits):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # no Python starts with it
    message = certify_message(Engine(package), digits[0][:1], [3], 0.1, radius=False, counterexample=False)

    async def run(pool: WorkerPool):
        (result,) = await pool.run([message], time.monotonic() + 60)
        return result["assessments"]

    async def scenario():
        pool = WorkerPool("certificates", workers=1, queue=1)
        assert pool.status().state == "starting"
        pool.start()
        try:
            with pytest.raises(WorkersUnavailable, match="ended while it started"):
                await run(pool)  # it waits, and is told when the first start fails
            status = pool.status()
            assert (status.state, status.ready, status.wanted) == ("unavailable", 0, 1)
            assert "exit code 1" in (status.reason or "")
            with pytest.raises(WorkersUnavailable):
                await asyncio.wait_for(run(pool), timeout=0.01)  # later ones do not wait at all
            monkeypatch.delenv("PYTHONHOME")
            await _until(lambda: pool.status().state == "ready")
            return await run(pool)
        finally:
            await pool.stop()

    (assessment,) = asyncio.run(scenario())
    assert assessment["verdict"] == "certified"


def test_a_stopped_pool_leaves_no_process_and_starts_none():
    async def scenario():
        pool = WorkerPool("certificates", workers=2, queue=1)
        pool.start()
        await _until(pool.process_ids)
        processes = pool.process_ids()
        await pool.stop()
        assert not [process for process in processes if Path(f"/proc/{process}").exists()]
        assert not pool.process_ids()
        assert pool.status().state == "off"
        with pytest.raises(WorkersUnavailable):
            await pool.run([], time.monotonic() + 1)

    asyncio.run(scenario())


@pytest.mark.slow
def test_files_in_the_working_directory_are_not_executed(tmp_path, three):
    executed = tmp_path / "executed"
    for name in ("model", "service", "json", "torch", "numpy", "pickle", "multiprocessing"):
        hostile = f"open({str(executed)!r}, 'a').write({name!r})\nraise SystemExit(9)\n"
        (tmp_path / f"{name}.py").write_text(hostile)
    with running_server("--workers", "2", cwd=tmp_path, only="mnist-3v5", WHITEBOX_ATTACK_WORKERS="0") as (
        client,
        _,
    ):
        certified = client.post("/v1/certify", json={"images": [three], **CERTIFICATE})
        assert certified.status_code == 200
    assert not executed.exists()


def _niceness(process: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, process)


# Root may lower a niceness, which would hide what happens to everybody else.
WITHOUT_PRIVILEGE = ["setpriv", "--bounding-set=-sys_nice"] if os.geteuid() == 0 else []


# That of 0 is in api/test_attack.py, with root's privilege.
@pytest.mark.slow
@pytest.mark.parametrize("added", [0, 15])
def test_workers_have_at_least_the_niceness_of_their_service(three, added):
    own = min(os.nice(0) + added, 19)
    prefix = [*WITHOUT_PRIVILEGE, "nice", "-n", str(added)]
    with running_server(prefix=prefix, only="mnist-3v5", WHITEBOX_CERTIFY_WORKERS="0") as (client, process):
        assert client.post("/v1/attack", json={"images": [three], **FAST_ATTACK}).status_code == 200
        assert _niceness(process.pid) == own
        assert {_niceness(worker) for worker in worker_ids(process.pid)} == {max(own, 10)}


def test_without_torch_predictions_are_served_and_workers_are_unavailable_at_once(tmp_path, three):
    log = tmp_path / "log"
    with running_server(log=log, only="mnist-3v5", PYTHONPATH=without_module("torch", tmp_path)) as (
        client,
        process,
    ):
        for path, body in (("/v1/attack", FAST_ATTACK), ("/v1/certify", CERTIFICATE)):
            refused = client.post(path, json={"images": [three], **body}, timeout=2)
            assert (refused.status_code, refused.json()["type"]) == (503, UNAVAILABLE)
            assert "whitebox-serving[attack]" in refused.json()["detail"]
        assert client.post("/v1/predict", json={"images": [three]}).json()["predictions"][0]["label"] == 3
        assert client.post("/v1/explain", json={"images": [three]}).status_code == 200
        ready = client.get("/v2/health/ready")
        assert ready.status_code == 503  # the settings ask for what it does not do
        assert ready.json()["ready"] is False
        for pool in ("attacks", "certificates"):
            status = ready.json()["workers"][pool]
            assert (status["state"], status["ready"], status["wanted"]) == ("unavailable", 0, 1)
            assert "torch is not installed" in status["reason"]
            assert metric(client, "whitebox_workers", pool=pool) == 0
            assert metric(client, "whitebox_worker_start_failures_total", pool=pool) == 1
        assert not worker_ids(process.pid)
    assert "no worker for attacks can start: torch is not installed" in log.read_text()


def test_a_pool_whose_torch_is_broken_says_so_once_and_refuses_at_once(tmp_path, three):
    broken, log = tmp_path / "torch", tmp_path / "log"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('libtorch.so: cannot open shared object file')")
    with running_server(log=log, only="mnist-3v5", PYTHONPATH=str(tmp_path), WHITEBOX_ATTACK_WORKERS="0") as (
        client,
        _,
    ):
        status = _wait_for_pool(client, "certificates", "unavailable")
        assert "exit code 1" in status["reason"]
        refused = client.post("/v1/certify", json={"images": [three], **CERTIFICATE}, timeout=2)
        assert (refused.status_code, refused.json()["type"]) == (503, UNAVAILABLE)
        assert client.get("/v2/health/ready").json()["workers"]["attacks"]["state"] == "off"
        while metric(client, "whitebox_worker_start_failures_total", pool="certificates") < 2:
            time.sleep(0.1)  # it goes on trying
    text = log.read_text()
    assert "libtorch.so: cannot open shared object file" in text
    assert text.count("no worker for certificates can start") == 1
