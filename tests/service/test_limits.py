"""Nobody takes the service down: what one client may cost, attacked from outside (docs/threat-model.md)."""

import base64
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from PIL import Image
from running import JSON, NO_WORKERS, metric, running_server, until, whole_request

from service.budgets import Budgets
from service.errors import BuffersFull
from service.http.protection.buffers import OutputBuffers

MIB = 2**20
EXPLAIN = b"POST /v1/explain HTTP/1.1"
INFER = "/v2/models/mnist-3v5/infer"


@pytest.fixture(scope="module")
def limited() -> Iterator[tuple[httpx.Client, int]]:
    """A service whose limits are reached soon; and its process."""
    with running_server(
        WHITEBOX_HEAD_TIMEOUT_SECONDS="2",
        WHITEBOX_BODY_TIMEOUT_SECONDS="3",
        WHITEBOX_WRITE_TIMEOUT_SECONDS="3",
        WHITEBOX_MAX_REQUESTS="20",
        WHITEBOX_MAX_CONNECTIONS_PER_ADDRESS="40",
        WHITEBOX_MAX_BUFFERED_INPUT_BYTES=str(12 * MIB),
        WHITEBOX_MAX_BUFFERED_OUTPUT_BYTES=str(32 * MIB),
        **NO_WORKERS,
    ) as (client, process):
        yield client, process.pid


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.base_url.port), timeout=20)


def megabytes(process: int) -> float:
    """Returns the memory that a process holds."""
    with open(f"/proc/{process}/statm") as file:
        return int(file.read().split()[1]) * 4096 / MIB


def predicts(client: httpx.Client, three: list) -> bool:
    return client.post("/v1/predict", json={"images": [three]}).status_code == 200


def slug(answer: httpx.Response) -> str:
    return answer.json()["type"].rpartition(":")[2]


ZEROS = b"[" + b"0," * (4 * MIB - 100) + b"0]"
TWOS = b"[" + b",".join([b"[" + b",".join([b"[" + b"2," * 27 + b"2]"] * 28) + b"]"] * 5000) + b"]"
INVALID = {
    "/v1/predict": b'{"images": %b}' % TWOS,
    "/v1/explain": b'{"images": %b}' % TWOS,
    "/v1/attack": b'{"attack": "pgd", "epsilon": 0.1, "images": %b}' % TWOS,
    "/v1/certify": b'{"epsilon": 0.1, "images": %b}' % TWOS,
    "/v1/models/mnist-3v5:predict": b'{"instances": %b}' % TWOS,
    "/v1/models/mnist-3v5:explain": b'{"instances": %b}' % ZEROS,
    INFER: b'{"inputs": %b}' % ZEROS,
    "/v2/repository/index": b'{"ready": %b}' % ZEROS,
}


@pytest.mark.parametrize("path", INVALID)
def test_eight_megabytes_of_what_is_invalid_cost_little_and_are_given_back(limited, three, path):
    client, process = limited
    assert predicts(client, three)
    before = megabytes(process)
    answer = client.post(path, content=INVALID[path], headers={"Content-Type": "application/json"})
    assert answer.status_code == (400 if ":" in path or path.startswith("/v2") else 422)
    assert "values are too many" in answer.text
    assert megabytes(process) < before + 100
    assert predicts(client, three)


WRONG = {
    "pixels": {"images": [[[2] * 28] * 28] * 70},
    "images": {"images": [7] * 4000},
    "labels": {"images": [[[0] * 28] * 28], "labels": [{}] * 4000},
    "fields": {"images": [{f"field{number}": 0 for number in range(4000)}]},
    "parts": {"images": [[[0] * 28] * 28], "include": ["magic"] * 4000},
}


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v1/attack", "/v1/certify"])
@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_at_most_twenty_errors_are_told(limited, path, body):
    answer = limited[0].post(path, json=body)
    assert answer.status_code == 422
    assert 1 <= len(answer.json()["errors"]) <= 20


def head(path: str, length: int, more: bytes = b"") -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n%b\r\n" % (path.encode(), length, more)
    )


def test_bodies_that_do_not_come_hold_nobody_up(limited, three):
    client, _ = limited
    with ExitStack() as slow:
        held = [slow.enter_context(connect(client)) for _ in range(30)]  # more than requests in progress
        for connection in held:
            connection.sendall(head("/v1/predict", 5000, b"X-Request-Timeout-Ms: 3600000\r\n") + b"{")
        time.sleep(0.3)
        assert all(predicts(client, three) for _ in range(20))
        assert {connection.recv(100).split()[1] for connection in held} == {b"408"}


def test_half_bodies_together_hold_no_more_than_is_allowed(limited, three):
    client, process = limited
    before = megabytes(process)
    with ExitStack() as half:
        for _ in range(30):
            connection = half.enter_context(connect(client))
            connection.sendall(head("/v1/predict", 7 * MIB) + b" " * (3 * MIB))
        assert megabytes(process) < before + 60
        assert metric(client, "whitebox_budget_used", budget="buffered input bytes") <= 12 * MIB
        assert predicts(client, three)
        large = json.dumps({"images": [three] * 60}).encode() + b" " * MIB
        assert client.post(
            "/v1/predict", content=large, headers={"Content-Type": "application/json"}
        ).is_success


def unread_explanation(
    connection: socket.socket, image: list[list[float]], images: int, times: int = 1
) -> None:
    """Asks for an explanation, so many times, and reads nothing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = json.dumps({"images": [image] * images}).encode()
    connection.sendall(whole_request(body, start=EXPLAIN) * times)


def buffered_answers(client: httpx.Client) -> float:
    """Returns the bytes of answers that are made or unread."""
    return metric(client, "whitebox_budget_used", budget="buffered output bytes")


def test_who_reads_no_answer_is_neither_worked_for_nor_waited_for(limited, three):
    client, process = limited
    before = megabytes(process)
    with ExitStack() as unread:
        for _ in range(12):
            unread_explanation(unread.enter_context(connect(client)), three, 40, times=4)
        time.sleep(1.5)
        assert all(predicts(client, three) for _ in range(20))
        assert megabytes(process) < before + 150
        assert 0 < buffered_answers(client) <= 40 * MIB
        for _ in range(20):
            time.sleep(0.5)
            if metric(client, "whitebox_rejections_total", reason="answer-unread") >= 1:
                break
        assert metric(client, "whitebox_rejections_total", reason="answer-unread") >= 1
    for _ in range(40):  # threads end what they have begun
        last = client.post("/v1/explain", json={"images": [three] * 40}).status_code
        if last == 200:
            break
        time.sleep(0.25)
    assert last == 200


def test_an_answer_that_the_system_holds_for_a_client_counts_as_unread(limited, three):
    client, _ = limited
    read = len(client.post("/v1/explain", json={"images": [three] * 30}).content)
    with connect(client) as connection:
        unread_explanation(connection, three, 30)
        time.sleep(1.5)
        assert buffered_answers(client) > read - MIB


def test_while_unread_answers_leave_no_room_large_explain_requests_are_refused_unparsed(limited, three):
    client, _ = limited
    invalid = json.dumps({"images": [three] * 20, "no such field": 1})
    headers = {"Content-Type": "application/json"}

    def large() -> httpx.Response:
        return client.post("/v1/explain", content=invalid, headers=headers)

    assert large().status_code == 422
    # On a busy machine the first are closed, unread, before the last have filled the room.
    for _ in range(10):
        with ExitStack() as unread:
            for images in [20] * 15 + [6] * 20:
                unread_explanation(unread.enter_context(connect(client)), three, images)
                time.sleep(0.05)
                if (refused := large()).status_code == 503:
                    assert slug(refused) == "buffers-full"
                    assert refused.headers["retry-after"] == "1"
                    assert predicts(client, three)
                    return
                assert refused.status_code == 422
        time.sleep(1)
    raise AssertionError("unread answers never left too little room")


def test_a_budget_for_less_than_the_largest_explanation_still_lets_large_requests_for_little_in():
    unread = 0
    answers = OutputBuffers(Budgets(max_buffered_output_bytes=8 * MIB), lambda: unread)
    answers.refuse_early(4 * MIB)
    unread = 1
    with pytest.raises(BuffersFull):
        answers.refuse_early(4 * MIB)


def test_who_leaves_is_not_explained_to_and_holds_no_room(limited, three):
    client, _ = limited
    body = json.dumps({"images": [three] * 60, "format": "png"}).encode()
    with ExitStack() as leaving:
        for _ in range(6):
            leaving.enter_context(connect(client)).sendall(whole_request(body, start=EXPLAIN))
        until(lambda: buffered_answers(client) > 20 * MIB, 10)
    started = time.monotonic()
    until(lambda: buffered_answers(client) == 0, 10)
    left = time.monotonic() - started
    started = time.monotonic()
    assert client.post("/v1/explain", content=body, headers={"Content-Type": "application/json"}).is_success
    assert left < time.monotonic() - started, "what six clients had asked for was worked on to its end"


@pytest.mark.parametrize("begin", [b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX: ", b"GET /"])
def test_a_head_without_end_is_refused(limited, begin):
    with connect(limited[0]) as connection:
        connection.sendall(begin)
        answer = b""
        try:
            for _ in range(64):
                connection.sendall(b"a" * 16_384)
            answer = connection.recv(1000)
        except ConnectionError:
            pass  # it was closed on what was still coming
        assert answer in (b"",) or answer.startswith(b"HTTP/1.1 431 ")
    assert metric(limited[0], "whitebox_rejections_total", reason="head-too-large") >= 1


def send_without_end(connection: socket.socket, part: bytes) -> None:
    """Sends until the connection breaks, or for two seconds."""
    connection.settimeout(2)
    for _ in range(200):
        connection.sendall(part)
        time.sleep(0.01)


def test_trailers_and_chunk_extensions_have_no_more_room_than_a_head(limited):
    start = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    for endless in (b"1;a=", b"1\r\n{\r\n0\r\nX: "):
        with connect(limited[0]) as connection:
            connection.sendall(start + endless)
            with pytest.raises(ConnectionError):
                send_without_end(connection, b"a" * 16_384)


def test_a_head_that_does_not_come_and_a_connection_without_a_request_are_closed(limited):
    with connect(limited[0]) as never, connect(limited[0]) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        for connection in (never, slow):
            answer = connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"head-too-slow" in answer + connection.recv(1000)


def test_an_address_has_so_many_connections_and_no_more(limited, three):
    client, _ = limited
    assert predicts(client, three)  # its connection stays
    with ExitStack() as many:
        connections = [many.enter_context(connect(client)) for _ in range(60)]
        time.sleep(0.2)
        assert predicts(client, three)
        refused = connections[-1].recv(1000)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"too-many-connections" in refused + connections[-1].recv(1000)
    time.sleep(0.2)
    with httpx.Client(base_url=client.base_url) as another:
        assert predicts(another, three)


def test_requests_sent_ahead_without_end_are_cut_off(limited, three):
    with connect(limited[0]) as connection, pytest.raises(ConnectionError):
        send_without_end(connection, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000)
    assert predicts(limited[0], three)


def one_bit_png(side: int) -> str:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def test_pixels_are_counted_for_the_whole_request_before_any_is_unpacked(limited):
    images = [{"png": one_bit_png(2000)}] * 64
    for path, body in (
        ("/v1/predict", {"images": images}),
        ("/v1/explain", {"images": images}),
        ("/v1/models/mnist-3v5:predict", {"instances": images}),
    ):
        answer = limited[0].post(path, json=body)
        assert answer.status_code in (400, 422)
        assert "pixels are too many" in answer.text
    alone = limited[0].post("/v1/predict", json={"images": [{"png": one_bit_png(5000)}]})
    assert slug(alone) == "too-many-pixels"


def test_an_answer_has_so_many_numbers_and_no_more(limited, three):
    image = three
    tensor = {"name": "image", "shape": [60, 28, 28], "datatype": "FP32", "data": [image] * 60}
    every = [{"name": "templates"}] * 64
    answer = limited[0].post(INFER, json={"inputs": [tensor], "outputs": every})
    assert answer.status_code == 400
    assert "the answer would hold" in answer.json()["error"]
    explained = limited[0].post("/v1/explain", json={"images": [image] * 64, "model": "mnist-10"})
    assert slug(explained) == "answer-too-large"


def test_a_deadline_holds_for_work_in_threads(limited, three):
    body = {"images": [three] * 64, "format": "png"}
    answer = limited[0].post("/v1/explain", json=body, headers={"X-Request-Timeout-Ms": "40"})
    assert slug(answer) == "deadline-exceeded"
