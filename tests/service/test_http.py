"""Predictions over HTTP/1.1, in whatever pieces their bytes come, on a real server on a socket."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import JSON, ROOT, whole_request

from service.app import create_app
from service.budgets import SMALL_BODY
from service.http.protection.connections import Connection
from service.settings import Settings

HALF = [[0.5] * 14 + [0.0] * 14] * 28  # the left one
BODY = json.dumps({"images": [HALF]}).encode()


class Running:
    """The service in a thread of this process."""

    def __init__(self, **options: object) -> None:
        given = Settings(attack_workers=0, certify_workers=0, metrics_cache_seconds=0, **options)
        app = create_app(given)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = uvicorn.Config(
            app, port=self.port, http=Connection, log_config=None,
            timeout_keep_alive=given.keep_alive_seconds, server_header=False, proxy_headers=False,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.app = app
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            yield connection


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    running = Running(keep_alive_seconds=2, target_latency_ms=0)  # whose clients have the same interpreter
    yield running
    running.stop()


def request(body: bytes = BODY, **parts: bytes) -> bytes:
    return whole_request(body, **parts)


def read_answer(
    connection: socket.socket, rest: bytes = b""
) -> tuple[bytes, dict[bytes, bytes], bytes, bytes]:
    """Returns status line, headers, body and what came behind it."""
    answer = rest
    while b"\r\n\r\n" not in answer:
        part = connection.recv(65536)
        assert part, f"closed after {answer!r}"
        answer += part
    head, body = answer.split(b"\r\n\r\n", 1)
    status, *lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    length = int(headers[b"content-length"])
    while len(body) < length:
        body += connection.recv(65536)
    return status, headers, body[:length], body[length:]


def ask(service: Running, data: bytes, split: int | None = None) -> tuple[bytes, dict[bytes, bytes], bytes]:
    with service.connection() as connection:
        if split is not None:
            connection.sendall(data[:split])
            time.sleep(0.02)
            data = data[split:]
        connection.sendall(data)
        return read_answer(connection)[:3]


CASES = {
    "id": request(head=JSON + b"X-Request-ID: mine\r\n"),
    "no acceptable id": request(head=JSON + b"X-Request-ID: a b\r\n"),
    "charset": request(head=b"Content-Type: application/json; charset=utf-8\r\n"),
    "deadline": request(head=JSON + b"X-Request-Timeout-Ms: 5000\r\n"),
    "no deadline": request(head=JSON + b"X-Request-Timeout-Ms: soon\r\n"),
    "no media type": request(head=b""),
    "other media type": request(head=b"Content-Type: text/plain\r\n"),
    "closed": request(head=JSON + b"Connection: close\r\n"),
    "HTTP/1.0": request(start=b"POST /v1/predict HTTP/1.0"),
    "query": request(start=b"POST /v1/predict?model=no HTTP/1.1"),
    "GET": request(start=b"GET /v1/predict HTTP/1.1"),
    "upgrade": request(head=JSON + b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
    "named": request(json.dumps({"images": [HALF], "model": "mnist-10"}).encode()),
    "unknown": request(json.dumps({"images": [HALF], "model": "no"}).encode()),
    "none": request(b'{"images": []}'),
    "no JSON": request(b"{"),
    "no body": request(b""),
    "pixel": request(json.dumps({"images": [[[2.0] * 28] * 28]}).encode()),
    "NaN": request(json.dumps({"images": [[[float("nan")] * 28] * 28]}).encode()),
    "rows": request(json.dumps({"images": [[[0.5] * 28] * 27]}).encode()),
    "many": request(json.dumps({"images": [HALF] * 10}).encode()),
    "large": request(json.dumps({"images": [HALF] * 60}).encode()),
    "wrong length": request(head=JSON + b"Content-Length: 7\r\n"),
    "bad length": b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n" + JSON + b"Content-Length: -1\r\n\r\n",
    "no HTTP": b"POST /v1/predict HTTP/1.1\r\nno header\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("data", CASES.values(), ids=CASES)
def test_a_request_that_comes_in_two_pieces_is_answered_like_a_whole_one(service, data):
    whole, in_pieces = ask(service, data), ask(service, data, split=10)
    own = {b"x-request-id", b"date"}
    assert whole[0] == in_pieces[0]
    assert whole[1].keys() == in_pieces[1].keys()
    assert {k: v for k, v in whole[1].items() if k not in own} == {
        k: v for k, v in in_pieces[1].items() if k not in own
    }
    assert whole[2] == in_pieces[2]


STATUS = {
    "charset": 200, "named": 200, "large": 200, "no deadline": 422, "no media type": 415,
    "other media type": 415, "GET": 405, "unknown": 404, "none": 422, "no JSON": 422, "no body": 422,
    "pixel": 422, "NaN": 422, "rows": 422, "bad length": 400, "no HTTP": 400,
}  # fmt: skip


@pytest.mark.parametrize(("case", "status"), STATUS.items())
def test_every_kind_of_request_gets_its_status(service, case, status):
    assert ask(service, CASES[case])[0].split()[1] == b"%d" % status


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX-A: ",  # amid a head
        b"POST /v2/repository/index HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 9000\r\n\r\n",  # amid a body
        b"POST /v2/health/live HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 9000\r\n\r\n",  # already answered
    ],
)
def test_what_looks_like_a_request_within_another_is_none(service, begin):
    """Nobody in between who sees one request may be made to pass on two."""
    with service.connection() as connection:
        connection.sendall(begin)
        time.sleep(0.05)
        connection.sendall(request())
        connection.settimeout(0.3)
        answers = b""
        try:
            while part := connection.recv(65536):
                answers += part
        except TimeoutError:
            pass
        assert b"predictions" not in answers


def test_a_body_in_chunks_is_read_too(service):
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    assert ask(service, head + chunks)[2] == ask(service, request())[2]


def test_a_client_that_waits_to_be_told_to_go_on_is_told(service):
    with service.connection() as connection:
        connection.sendall(request(head=JSON + b"Expect: 100-continue\r\n")[: -len(BODY)])
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(BODY)
        assert read_answer(connection)[0] == b"HTTP/1.1 200 OK"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, len(request()) - 1), max_size=5), pause=st.sampled_from([0, 0.001, 0.06]))
def test_it_does_not_matter_in_which_pieces_a_request_comes(service, cuts, pause):
    data = request()
    ends = [*sorted(set(cuts)), len(data)]
    with service.connection() as connection:
        for begin, end in zip([0, *ends], ends, strict=False):
            connection.sendall(data[begin:end])
            time.sleep(pause)
        status, _, body, rest = read_answer(connection)
    assert status == b"HTTP/1.1 200 OK"
    assert body == ask(service, data)[2]
    assert not rest


def test_requests_sent_without_waiting_are_answered_in_order(service, digits):
    bodies = [json.dumps({"images": [image.tolist()]}).encode() for image in digits[0][:12]]
    bodies[3] = b'{"images": []}'
    bodies[7] = json.dumps({"images": [HALF], "model": "mnist-3v5"}).encode()
    expected = [ask(service, request(body))[2] for body in bodies]
    for together in (1, 2, 5, 12):
        with service.connection() as connection:
            for start in range(0, len(bodies), together):
                connection.sendall(b"".join(map(request, bodies[start : start + together])))
            rest, found = b"", []
            for _ in bodies:
                _, _, body, rest = read_answer(connection, rest)
                found.append(body)
        close = [json.loads(body) for body in found]
        assert [one.get("type") for one in close] == [json.loads(body).get("type") for body in expected]
        for one, body in zip(close, expected, strict=True):
            logits = [list(p["logits"].values()) for p in one.get("predictions", [])]
            wanted = [list(p["logits"].values()) for p in json.loads(body).get("predictions", [])]
            np.testing.assert_allclose(logits, wanted, atol=1e-5)


def test_a_connection_is_kept_while_it_is_used_and_closed_when_it_is_not(service):
    with service.connection() as connection:
        for _ in range(4):  # in all longer than an idle one is kept
            connection.sendall(request())
            assert read_answer(connection)[0] == b"HTTP/1.1 200 OK"
            time.sleep(0.8)
        since = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.5 < time.monotonic() - since < 4


class Slow:
    """Makes inference take as long as it is told."""

    def __init__(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        batcher = running.app.state.service.models.get().batcher
        infer = batcher._infer

        def slowly(images):
            self.go_on.wait(10)
            return infer(images)

        monkeypatch.setattr(batcher, "_infer", slowly)


@pytest.fixture(scope="module")
def one_model(tmp_path_factory) -> Path:
    """A directory with one model: a service with fewer starts sooner."""
    models = tmp_path_factory.mktemp("models")
    (models / "mnist-10").symlink_to(ROOT / "artifacts" / "mnist-10")
    return models


@pytest.fixture(scope="module")
def own(one_model) -> Iterator[Running]:
    """A service whose inference tests hold up."""
    running = Running(max_requests=3, target_latency_ms=0, models_dir=one_model)
    yield running
    running.stop()


FOUR = request(json.dumps({"images": [HALF] * 4}).encode())  # as many as are worth a thread


def in_progress(running: Running) -> float:
    """Returns what /metrics says of requests in progress, this one included."""
    body = ask(running, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")[2].decode()
    (line,) = [line for line in body.splitlines() if line.startswith("whitebox_requests_in_progress ")]
    return float(line.split()[1])


def test_requests_in_progress_are_counted_while_they_are(own, monkeypatch):
    slow = Slow(own, monkeypatch)
    with own.connection() as one, own.connection() as two:
        one.sendall(FOUR)
        two.sendall(FOUR)
        time.sleep(0.2)
        assert in_progress(own) == 3
        slow.go_on.set()
        assert read_answer(one)[0] == read_answer(two)[0] == b"HTTP/1.1 200 OK"
    assert in_progress(own) == 1


def test_whoever_leaves_costs_nobody_else_an_answer(own, monkeypatch):
    slow = Slow(own, monkeypatch)
    with own.connection() as leaving:
        leaving.sendall(FOUR)
        time.sleep(0.1)
    slow.go_on.set()
    assert ask(own, request())[0] == b"HTTP/1.1 200 OK"
    assert in_progress(own) == 1


def test_beyond_the_limit_whole_requests_are_refused_and_then_answered_again(own, monkeypatch):
    slow = Slow(own, monkeypatch)
    with own.connection() as one, own.connection() as two, own.connection() as three:
        for connection in (one, two, three):
            connection.sendall(FOUR)
        time.sleep(0.2)
        assert ask(own, request())[0] == b"HTTP/1.1 429 Too Many Requests"
        slow.go_on.set()
        for connection in (one, two, three):
            assert read_answer(connection)[0] == b"HTTP/1.1 200 OK"
    assert ask(own, request())[0] == b"HTTP/1.1 200 OK"


def test_what_nobody_expected_is_told_as_such_and_fails_alone(own, monkeypatch, caplog):
    batcher = own.app.state.service.models.get().batcher

    def broken(_images):
        raise RuntimeError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(batcher, "_infer", broken)
        status, _, body = ask(own, request())
    assert status == b"HTTP/1.1 500 Internal Server Error"
    assert json.loads(body)["type"] == "urn:whitebox:problem:internal-error"
    assert b"secret" not in body
    assert "a secret" in caplog.text
    assert ask(own, request())[0] == b"HTTP/1.1 200 OK"


def test_a_deadline_holds_for_whoever_waits_for_inference(own, monkeypatch):
    slow = Slow(own, monkeypatch)
    with own.connection() as one, own.connection() as two, own.connection() as late:
        for connection in (one, two):  # as many batches as the thread is given at once
            connection.sendall(FOUR)
            time.sleep(0.1)
        late.sendall(request(head=JSON + b"X-Request-Timeout-Ms: 50\r\n"))
        time.sleep(0.2)
        slow.go_on.set()
        status, _, body, _ = read_answer(late)
        assert status == b"HTTP/1.1 504 Gateway Timeout"
        assert json.loads(body)["type"] == "urn:whitebox:problem:deadline-exceeded"
        assert read_answer(one)[0] == read_answer(two)[0] == b"HTTP/1.1 200 OK"


def test_a_request_in_progress_is_answered_when_the_service_ends(one_model, monkeypatch):
    ending = Running(models_dir=one_model)
    slow = Slow(ending, monkeypatch)
    with ending.connection() as connection, ending.connection() as idle:
        connection.sendall(FOUR)
        time.sleep(0.2)
        ending.server.should_exit = True
        time.sleep(0.3)
        assert idle.recv(1) == b""
        slow.go_on.set()
        status, headers, _, _ = read_answer(connection)
        assert status == b"HTTP/1.1 200 OK"
        assert headers[b"connection"] == b"close"
        assert connection.recv(1) == b""
    ending.stop()


def test_a_body_that_is_read_in_a_thread_gets_the_same_answer(service):
    large = BODY + b" " * SMALL_BODY
    whole, in_pieces = ask(service, request(large)), ask(service, request(large), split=len(large) - 1)
    assert whole[2] == in_pieces[2] == ask(service, request())[2]


def test_a_thousand_predictions_over_many_connections_are_each_answered_once(service, digits):
    bodies = [json.dumps({"images": [image.tolist()]}).encode() for image in digits[0][:100]]
    expected = [json.loads(ask(service, request(body))[2]) for body in bodies]

    async def one(offset: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        for index in range(offset, 100, 10):
            writer.write(request(bodies[index]))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            found = json.loads(await reader.readexactly(length))
            for key in ("logits", "probabilities"):
                np.testing.assert_allclose(
                    list(found["predictions"][0][key].values()),
                    list(expected[index]["predictions"][0][key].values()),
                    atol=1e-5,
                )
        writer.close()

    async def crowd() -> None:
        await asyncio.gather(*(one(number % 10) for number in range(100)))

    asyncio.run(crowd())
