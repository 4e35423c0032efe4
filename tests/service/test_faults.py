"""Faults while others ask: every request is answered once, and no answer is wrong."""

import asyncio
import base64
import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from running import PACKAGE, ROOT, metric, running_server, whole_request, worker_ids

from service.app import create_app
from service.inference.engine import Engine
from service.settings import Settings

FIVE = (ROOT / "examples" / "five.png").read_bytes()
# It finds nothing and goes on for a minute.
ATTACK = {
    "images": [{"png": base64.b64encode(FIVE).decode()}],
    "attack": "square",
    "epsilon": 0.01,
    "steps": 100_000,
}
FAST = {**ATTACK, "attack": "fgsm", "steps": 1}


class Askers:
    """Clients that ask for predictions without a break and compare each with the offline model.

    Args:
        url: Of the service.
        images: (N, 28, 28) of real digits.
        logits: What the offline model says of them, (N, 2).
    """

    def __init__(self, url: str, images: np.ndarray, logits: np.ndarray, count: int = 2) -> None:
        self._url, self._images, self._logits = url, images, logits
        self._stop = threading.Event()
        self.asked = self.right = 0
        self.wrong: list[object] = []
        self._compared = threading.Condition()
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(count)]

    def __enter__(self) -> "Askers":
        for thread in self._threads:
            thread.start()
        self.ask_on(len(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ask_on(self, count: int) -> None:
        """Waits until so many more answers were compared."""
        with self._compared:
            enough = self.asked + count
            assert self._compared.wait_for(lambda: self.asked >= enough, timeout=120)

    def _ask(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.is_set():
                chosen = random.choice(len(self._images), random.integers(1, 5), replace=False)
                answer = client.post("/v1/predict", json={"images": self._images[chosen].tolist()})
                self._compare(answer, self._logits[chosen])

    def _compare(self, answer: httpx.Response, expected: np.ndarray) -> None:
        found = answer.json()
        logits = [list(one["logits"].values()) for one in found.get("predictions", [])]
        right = answer.status_code == 200 and np.allclose(logits, expected, atol=1e-5)
        with self._compared:
            self.asked += 1
            self.right += right
            if not right:
                self.wrong.append(found)
            self._compared.notify_all()


@pytest.fixture(scope="module")
def offline(package, digits) -> tuple[np.ndarray, np.ndarray]:
    images = digits[0][:100]
    return images, Engine(package).predict(images)[0]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Iterator[tuple[httpx.Client, int, Path]]:
    models = tmp_path_factory.mktemp("models")
    (models / "mnist-3v5").mkdir()
    (models / "mnist-3v5" / PACKAGE.name).symlink_to(PACKAGE)
    with running_server(
        WHITEBOX_MODELS_DIR=str(models),
        WHITEBOX_MODELS_POLL_SECONDS="0.1",
        WHITEBOX_CERTIFY_WORKERS="0",
        WHITEBOX_ATTACK_QUEUE="1",
        WHITEBOX_MAX_REQUESTS="2000",
        WHITEBOX_TARGET_LATENCY_MS="0",  # a thousand may be as late as they are
        WHITEBOX_MAX_CONNECTIONS_PER_ADDRESS="2000",
    ) as (client, process):
        yield client, process.pid, models


def attack_worker_is_killed(client: httpx.Client, server: int, _: Path) -> None:
    assert client.post("/v1/attack", json=FAST).status_code == 200  # a worker is ready
    answers: list[int] = []
    attacking = threading.Thread(
        target=lambda: answers.append(client.post("/v1/attack", json=ATTACK).status_code)
    )
    attacking.start()
    time.sleep(0.5)
    for worker in worker_ids(server):
        os.kill(worker, signal.SIGKILL)
    attacking.join()
    assert answers == [500]
    assert client.post("/v1/attack", json=FAST).status_code == 200


def attack_worker_hangs(client: httpx.Client, server: int, _: Path) -> None:
    assert client.post("/v1/attack", json=FAST).status_code == 200
    (worker,) = worker_ids(server)
    os.kill(worker, signal.SIGSTOP)
    hung = client.post("/v1/attack", json=FAST, headers={"X-Request-Timeout-Ms": "500"})
    assert hung.status_code == 500
    assert hung.json()["type"] == "urn:whitebox:problem:worker-lost"
    assert client.post("/v1/attack", json=FAST).status_code == 200
    assert worker not in worker_ids(server)


def queue_of_attacks_is_full(client: httpx.Client, *_: object) -> None:
    body = json.dumps(ATTACK).encode()
    with ExitStack() as held:
        for _ in range(2):  # one is worked on, one waits
            connection = socket.create_connection(("127.0.0.1", client.base_url.port))
            held.enter_context(connection).sendall(whole_request(body, start=b"POST /v1/attack HTTP/1.1"))
        while metric(client, "whitebox_queue_depth", queue="attacks") < 1:
            time.sleep(0.05)
        assert [client.post("/v1/attack", json=FAST).status_code for _ in range(6)] == [429] * 6


def bodies_are_half_sent(client: httpx.Client, *_: object) -> None:
    for length in (10, 1000, 100_000):
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b'Content-Length: %d\r\n\r\n{"ima' % length
            )


def nonsense_is_sent(client: httpx.Client, *_: object) -> None:
    for content in (b"\x00" * 100, b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", os.urandom(5000)):
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.settimeout(5)
            connection.sendall(content)
            connection.recv(1000)


def clients_leave_mid_attack(client: httpx.Client, *_: object) -> None:
    url = client.base_url.join("/v1/attack")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json=ATTACK, timeout=0.3)
    with httpx.stream("POST", url, json=ATTACK, headers={"Accept": "text/event-stream"}) as stream:
        next(stream.iter_lines())


def damaged_model_appears(client: httpx.Client, _: int, models: Path) -> None:
    directory = models / "mnist-3v5" / "9"
    directory.mkdir()
    for file in PACKAGE.iterdir():
        (directory / file.name).write_bytes(file.read_bytes()[:-7])
    (directory / "manifest.json").write_bytes((PACKAGE / "manifest.json").read_bytes())
    time.sleep(0.5)
    index = client.post("/v2/repository/index").json()
    assert {one["version"]: one["state"] for one in index} == {PACKAGE.name: "READY", "9": "UNAVAILABLE"}


def clients_read_slowly(client: httpx.Client, *_: object) -> None:
    body = json.dumps({"images": [[[0.5] * 14 + [0.0] * 14] * 28] * 60}).encode()
    slow = []
    for _ in range(5):
        connection = socket.create_connection(("127.0.0.1", client.base_url.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(
            b"POST /v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        slow.append(connection)
    time.sleep(2)
    for connection in slow:
        connection.close()


def a_thousand_connections_ask_at_once(client: httpx.Client, *_: object) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    body = json.dumps({"images": [[[0.5] * 14 + [0.0] * 14] * 28]}).encode()
    request = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    async def all_at_once() -> list[bytes]:
        return await asyncio.gather(*(one() for _ in range(1000)))

    try:
        answers = asyncio.run(all_at_once())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert len({answer.split(b"\r\n\r\n", 1)[1] for answer in answers}) == 1


FAULTS: list[Callable[[httpx.Client, int, Path], None]] = [
    attack_worker_is_killed, attack_worker_hangs, queue_of_attacks_is_full, bodies_are_half_sent,
    nonsense_is_sent, clients_leave_mid_attack, damaged_model_appears, clients_read_slowly,
    a_thousand_connections_ask_at_once,
]  # fmt: skip


# What a clock ends; api/test_attack.py has a worker that is killed, more quickly.
SLOW = (attack_worker_is_killed, attack_worker_hangs)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=pytest.mark.slow) if fault in SLOW else fault for fault in FAULTS],
    ids=lambda fault: fault.__name__,
)
def test_nobody_else_notices_that(faulty, offline, fault):
    client, server, models = faulty
    with Askers(str(client.base_url), *offline) as askers:
        fault(client, server, models)
        askers.ask_on(10)
    assert not askers.wrong
    assert askers.right == askers.asked


@pytest.mark.slow
def test_a_jump_of_the_clock_changes_nothing(monkeypatch, offline):
    images, logits = offline
    real = time.time
    settings = Settings(
        attack_workers=1, certify_workers=0, attack_timeout_seconds=60, default_model="mnist-3v5"
    )
    attack = {**ATTACK, "attack": "pgd", "epsilon": 0.1, "steps": 40}

    async def scenario() -> None:
        app = create_app(settings)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=90) as client,
        ):
            for jump in (-86_400.0, 86_400.0):
                monkeypatch.setattr(time, "time", real)
                attacking = asyncio.ensure_future(client.post("/v1/attack", json=attack))
                await asyncio.sleep(0.1)
                monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
                answer = await client.post("/v1/predict", json={"images": images[:5].tolist()})
                found = [list(one["logits"].values()) for one in answer.json()["predictions"]]
                np.testing.assert_allclose(found, logits[:5], atol=1e-5)
                assert (await attacking).status_code == 200

    asyncio.run(scenario())
