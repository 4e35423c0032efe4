"""Deadlines, queues and clients that are slow or gone."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import numpy as np
import pytest
from running import JSON, another, metric, running_server, sample_digits, until, whole_request

from service.errors import DeadlineExceeded, QueueFull
from service.inference.batcher import Batcher, QueueLimit
from service.inference.engine import Engine

HALF = [[0.5] * 14 + [0.0] * 14] * 28
STEADY = (sample_digits()[0][1600] / 255).tolist()


@pytest.fixture(scope="module")
def engine(package) -> Engine:
    return Engine(package)


def noting(engine: Engine, sizes: list[int]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Infers, and notes how many images came together."""

    def infer(batch):
        sizes.append(len(batch))
        return engine.predict(batch)

    return infer


def test_what_is_asked_at_the_same_time_is_inferred_together(engine, digits):
    images, sizes = digits[0][:40], []

    async def scenario():
        batcher = Batcher(noting(engine, sizes), QueueLimit(1000))
        asked = [
            batcher.predict(images[start : start + 2], time.monotonic() + 9) for start in range(0, 40, 2)
        ]
        return await asyncio.gather(*asked)

    found = asyncio.run(scenario())
    assert sizes == [10, 8, 8, 8, 6]  # half of the requests that wait, but at least 8 images
    logits = np.concatenate([each.logits for each in found])
    alone = np.concatenate([engine.predict(image[None]).logits for image in images])
    np.testing.assert_allclose(logits, alone, atol=1e-5)


def test_a_large_request_is_shared_among_the_cores_and_comes_back_in_order(engine, digits, monkeypatch):
    monkeypatch.setattr("service.inference.batcher._CORES", 3)
    images, sizes = digits[0][:200], []

    async def scenario():
        limit = QueueLimit(1000)
        batcher = Batcher(noting(engine, sizes), limit)
        found = await batcher.predict(images, time.monotonic() + 9)
        with pytest.raises(DeadlineExceeded):
            await batcher.predict(images, time.monotonic() - 0.001)
        limit.acquire(1000)  # nobody waits any more
        return found

    found = asyncio.run(scenario())
    assert sorted(sizes) == [66, 67, 67]
    expected = engine.predict(images)
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, other, atol=1e-5)


def test_a_failed_batch_fails_each_request_and_the_next_one_works(engine, digits):
    fail = [True]

    def infer(batch):
        if fail.pop() if fail else False:
            raise RuntimeError("out of order")
        return engine.predict(batch)

    async def scenario():
        batcher = Batcher(infer, QueueLimit(1000))
        later = time.monotonic() + 9
        failed = await asyncio.gather(
            *(batcher.predict(digits[0][:1], later) for _ in range(3)), return_exceptions=True
        )
        assert [str(error) for error in failed] == ["out of order"] * 3
        found = await batcher.predict(digits[0][:1], later)
        assert found.logits.shape == (1, 2)

    asyncio.run(scenario())


def test_who_waits_too_long_or_leaves_is_not_inferred(engine, digits):
    sizes = []

    async def scenario():
        limit = QueueLimit(1000)
        batcher = Batcher(noting(engine, sizes), limit)
        now = time.monotonic()
        late = asyncio.ensure_future(batcher.predict(digits[0][:4], now - 0.001))
        gone = asyncio.ensure_future(batcher.predict(digits[0][:8], now + 9))
        fine = asyncio.ensure_future(batcher.predict(digits[0][:1], now + 9))
        asyncio.get_running_loop().call_soon(gone.cancel)
        assert len((await fine).logits) == 1
        with pytest.raises(DeadlineExceeded):
            await late
        with pytest.raises(asyncio.CancelledError):
            await gone
        limit.acquire(1000)  # nobody waits any more

    asyncio.run(scenario())
    assert sizes == [1]  # neither the late one nor the one that left cost anything


def test_a_full_queue_refuses_all_but_a_request_that_comes_alone():
    limit = QueueLimit(10)
    limit.acquire(10)
    with pytest.raises(QueueFull) as refused:
        limit.acquire(1)
    assert refused.value.headers["Retry-After"] == "1"
    limit.release(10)
    limit.acquire(256)


@pytest.fixture(scope="module")
def strict() -> Iterator[httpx.Client]:
    """A service with one worker that attacks; its limits are reached soon."""
    with running_server(
        only="mnist-3v5",
        WHITEBOX_MAX_REQUESTS="4",
        WHITEBOX_BODY_TIMEOUT_SECONDS="1.5",
        WHITEBOX_KEEP_ALIVE_SECONDS="1",
        WHITEBOX_MAX_ATTACK_QUERIES="10000000",  # none ends by itself
        WHITEBOX_CERTIFY_WORKERS="0",
    ) as (client, _):
        yield client


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1.5", "99999999999", "²"])
def test_a_deadline_that_is_no_number_is_refused(client, three, value):
    headers = [(b"X-Request-Timeout-Ms", value.encode())]
    answer = client.post("/v1/predict", json={"images": [three]}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["X-Request-Timeout-Ms"]


def test_a_client_can_only_shorten_the_deadline(strict):
    with send_head(strict, 5000, b"X-Request-Timeout-Ms: 3600000\r\n") as slow:
        slow.settimeout(10)
        started = time.monotonic()
        assert b" 408 " in slow.recv(65536).split(b"\r\n")[0]
        assert time.monotonic() - started < 5  # the service gives it 1.5 s


def test_a_deadline_holds_while_waiting_for_a_worker(strict):
    ask = {"images": [STEADY], "attack": "square", "epsilon": 0.001, "steps": 100_000}
    with in_progress(strict):  # the worker works on this, or loads torch
        time.sleep(0.2)
        started = time.monotonic()
        answer = strict.post("/v1/attack", json=ask, headers={"X-Request-Timeout-Ms": "300"})
        assert time.monotonic() - started < 3
        assert answer.status_code == 504
        assert answer.json()["type"] == "urn:whitebox:problem:deadline-exceeded"


def send_head(client: httpx.Client, length: int, headers: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", client.base_url.port))
    connection.sendall(
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n%b\r\n" % (length, headers)
    )
    return connection


def in_progress(client: httpx.Client) -> socket.socket:
    """Sends an attack that takes as long as it is let; its place is free when the connection is closed."""
    # Of a real digit: nothing so near turns it, so the attack looks on.
    attack = {"images": [STEADY], "attack": "square", "epsilon": 0.001, "steps": 100_000}
    connection = socket.create_connection(("127.0.0.1", client.base_url.port))
    connection.sendall(whole_request(json.dumps(attack).encode(), start=b"POST /v1/attack HTTP/1.1"))
    return connection


@contextmanager
def full(client: httpx.Client) -> Iterator[None]:
    """Has as many requests in progress as `strict` allows."""
    until(lambda: metric(client, "whitebox_requests_in_progress") == 1, 30)  # the one for the metrics
    with ExitStack() as held:
        while _predict(client) != 429:
            held.enter_context(in_progress(client))
            time.sleep(0.1)
        yield


def _predict(client: httpx.Client) -> int:
    # On a connection of its own: one that idles may be closed in the moment in which it is used again.
    return httpx.post(client.base_url.join("/v1/predict"), json={"images": [HALF]}).status_code


def test_a_body_that_does_not_come_is_given_up(strict, three):
    with send_head(strict, 5000) as slow:
        slow.sendall(b'{"images": [')
        started = time.monotonic()
        slow.settimeout(10)
        answer = slow.recv(65536)
        assert b" 408 " in answer.split(b"\r\n")[0]
        assert 1.2 < time.monotonic() - started < 5
    assert strict.post("/v1/predict", json={"images": [three]}).status_code == 200


def test_requests_beyond_the_limit_are_refused_at_once_and_health_is_not(strict, three):
    with full(strict):
        started = time.monotonic()
        refused = strict.post("/v1/predict", json={"images": [three]})
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["type"] == "urn:whitebox:problem:queue-full"
        assert time.monotonic() - started < 0.5
        assert strict.get("/v2/health/ready").status_code == 200
        assert strict.get("/metrics").status_code == 200
    until(lambda: _predict(strict) == 200, 30)
    assert strict.post("/v1/predict", json={"images": [three]}).status_code == 200


def test_a_client_that_leaves_in_the_middle_costs_nobody_else(strict, three, tmp_path):
    for part in (b"", b'{"images"', json.dumps({"images": [three]}).encode()):
        with send_head(strict, 100_000) as leaving:
            leaving.sendall(part)
    assert strict.post("/v1/predict", json={"images": [three]}).status_code == 200


def test_one_bad_request_in_a_burst_fails_alone(client, three):
    """What other servers' batching gets wrong (LitServe #340)."""
    answers: list[int] = []

    def ask(body: dict) -> None:
        with another(client) as own:
            answers.append(own.post("/v1/predict", json=body).status_code)

    for _ in range(5):
        answers.clear()
        bodies = [{"images": [three]}] * 15 + [{"images": [[[2.0] * 28] * 28]}]
        threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200] * 15 + [422]


def events(answer: httpx.Response) -> list[tuple[str, dict]]:
    found = []
    for block in answer.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_an_attack_tells_its_progress_then_its_answer(client, three):
    ask = {"images": [three] * 2, "attack": "square", "epsilon": 0.01, "steps": 600, "seed": 3}
    streamed = client.post("/v1/attack", json=ask, headers={"Accept": "text/event-stream"})
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    *progress, (last, answer) = events(streamed)
    assert last == "result"
    assert progress
    assert all(name == "progress" for name, _ in progress)
    assert {event["index"] for _, event in progress} == {0, 1}
    assert all(event["queries"] > 0 for _, event in progress)
    assert answer == client.post("/v1/attack", json=ask).json()


def test_a_streamed_attack_that_cannot_begin_is_a_plain_problem(client, without_workers, three):
    headers = {"Accept": "text/event-stream"}
    bad = client.post(
        "/v1/attack", json={"images": [three], "attack": "magic", "epsilon": 1}, headers=headers
    )
    assert bad.status_code == 422
    assert bad.headers["Content-Type"] == "application/problem+json"
    ask = {"images": [three], "attack": "fgsm", "epsilon": 0.1}
    assert without_workers.post("/v1/attack", json=ask, headers=headers).status_code == 503


def test_leaving_a_stream_ends_the_attack(client):
    slow = {"images": [STEADY], "attack": "square", "epsilon": 0.001, "steps": 100_000}
    fast = {"images": [HALF], "attack": "fgsm", "epsilon": 0.001}
    assert client.post("/v1/attack", json=fast).status_code == 200
    with client.stream("POST", "/v1/attack", json=slow, headers={"Accept": "text/event-stream"}) as stream:
        next(stream.iter_lines())
    started = time.monotonic()
    assert client.post("/v1/attack", json=fast).status_code == 200
    assert time.monotonic() - started < 5


def exchange(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    answer = connection.recv(65536)
    length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(answer.split(b"\r\n\r\n", 1)[1]) < length:
        answer += connection.recv(65536)
    return answer


def test_a_refusal_says_what_any_other_would_and_the_connection_goes_on(strict, three):
    body = json.dumps({"images": [three]}).encode()
    busy = ExitStack()
    busy.enter_context(full(strict))
    refusals = metric(strict, "whitebox_requests_total", status="429")
    with busy, socket.create_connection(("127.0.0.1", strict.base_url.port)) as connection:
        refused = exchange(connection, whole_request(body, JSON + b"X-Request-ID: mine-1\r\n"))
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nx-request-id: mine-1\r\n" in refused
        own_ids = {
            exchange(connection, whole_request(body)).split(b"x-request-id: ")[1][:32] for _ in range(5)
        }
        assert len(own_ids) == 5
        problem = json.loads(refused.split(b"\r\n\r\n")[1])
        elsewhere = strict.post("/v1/certify", json={})
        assert elsewhere.status_code == 429
        same = ("type", "title", "status")
        assert [problem[key] for key in same] == [elsewhere.json()[key] for key in same]
        for split in (10, 60, 200):
            request = whole_request(body)
            connection.sendall(request[:split])
            time.sleep(0.1)
            assert b" 429 " in exchange(connection, request[split:])[:20]
        assert metric(strict, "whitebox_requests_total", status="429") == refusals + 10
        busy.close()
        until(lambda: _predict(strict) == 200, 30)
        assert b" 200 " in exchange(connection, whole_request(body))[:20]


def test_a_refused_connection_is_not_taken_for_an_idle_one(strict, three):
    body = json.dumps({"images": [three]}).encode()
    busy = ExitStack()
    busy.enter_context(full(strict))
    with busy, socket.create_connection(("127.0.0.1", strict.base_url.port)) as connection:
        for _ in range(4):  # in all longer than an idle connection is kept
            assert b" 429 " in exchange(connection, whole_request(body))[:20]
            time.sleep(0.5)
        busy.close()
        until(lambda: _predict(strict) == 200, 30)
        assert b" 200 " in exchange(connection, whole_request(body))[:20]
