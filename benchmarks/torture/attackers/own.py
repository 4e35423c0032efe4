"""What one hostile client of this machine does to the service, one kind at a time; counts what came back."""

import base64
import io
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from PIL import Image

from benchmarks.peers.servers import digits
from benchmarks.peers.wire import post
from benchmarks.torture.task import read_task, tell

MIB = 2**20
Attack = Callable[["Attacker"], None]


class Attacker:
    """One address that opens connections to a port until its time is over.

    Args:
        port: Where the service listens.
        seconds: How long the attack goes on.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self.port, self.end = port, time.monotonic() + seconds
        self.seen: Counter[str] = Counter()

    @property
    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.end

    def connect(self) -> socket.socket:
        """Opens a connection.

        Raises:
            OSError: It was refused.
        """
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def count(self, data: bytes) -> None:
        """Counts an answer by its status."""
        self.seen[data[9:12].decode("ascii", "replace") if data.startswith(b"HTTP/1.1 ") else "closed"] += 1

    def ask(self, request: bytes) -> None:
        """Sends a request on a new connection and reads until it is closed."""
        try:
            with self.connect() as connection:
                connection.sendall(request)
                first = connection.recv(65_536)
                self.count(first)
                while first and connection.recv(65_536):
                    pass
        except OSError as error:
            self.seen[type(error).__name__] += 1

    def ask_on_and_on(self, clients: int, request: Callable[[], bytes]) -> None:
        """Asks from so many threads at once, each one request after the other."""

        def one() -> None:
            while self.goes_on:
                self.ask(request())

        threads = [threading.Thread(target=one) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def hold(self, connections: int, start: bytes, receive_buffer: int | None = None) -> None:
        """Sends the start of something on so many connections, reads nothing, reopens what is closed."""
        held: list[socket.socket] = []
        while self.goes_on:
            held = [connection for connection in held if not self._is_over(connection)]
            for _ in range(min(50, connections - len(held))):
                with suppress(OSError):
                    connection = self.connect()
                    held.append(connection)
                    if receive_buffer:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                    connection.settimeout(0.2)
                    connection.sendall(start)
            time.sleep(0.05)
        self.seen["held at the end"] = len(held)

    def _is_over(self, connection: socket.socket) -> bool:
        """Looks whether a connection was closed, without reading from it."""
        connection.setblocking(False)
        try:
            data = connection.recv(1000, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data.startswith(b"HTTP/1.1 200"):
            return False
        self.count(data)
        connection.close()
        return True


THREE: list[list[float]] = digits()[0, 0].tolist()
CLOSE = {"Connection": "close"}


def _explain(images: int, close: bool = True, **more: object) -> bytes:
    return post(
        "/v1/explain", json.dumps({"images": [THREE] * images, **more}).encode(), CLOSE if close else None
    )


def _head(path: str, length: int, more: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n{more}\r\n"
    ).encode()


def invalid_bodies(attacker: Attacker) -> None:
    """Four clients send 8 MB of pixels that are all too large."""
    twos = b"[" + b",".join([b"[" + b",".join([b"[" + b"2," * 27 + b"2]"] * 28) + b"]"] * 5000) + b"]"
    request = post("/v1/predict", b'{"images": %b}' % twos, CLOSE)
    attacker.ask_on_and_on(4, lambda: request)


def invalid_tensors(attacker: Attacker) -> None:
    """Four clients send 4 MB of tensors that are none."""
    request = post("/v2/models/mnist-3v5/infer", b'{"inputs": [' + b"0," * (2 * MIB) + b"0]}", CLOSE)
    attacker.ask_on_and_on(4, lambda: request)


def bodies_of_one_byte(attacker: Attacker) -> None:
    """500 connections begin a body, with a deadline of an hour, and stop."""
    attacker.hold(500, _head("/v1/predict", 5000, "X-Request-Timeout-Ms: 3600000\r\n") + b"{")


def half_bodies(attacker: Attacker) -> None:
    """320 connections send 3 of 8 MB."""
    attacker.hold(320, _head("/v1/predict", 8 * MIB - 1) + b" " * (3 * MIB))


def unread_explanations(attacker: Attacker) -> None:
    """330 connections ask for four explanations of 40 images each and read nothing."""
    attacker.hold(330, _explain(40, close=False, model="mnist-3v5") * 4, receive_buffer=4096)


def explained_pictures(attacker: Attacker) -> None:
    """Sixteen clients ask for explanations drawn as pictures."""
    request = _explain(16, format="png")
    attacker.ask_on_and_on(16, lambda: request)


def bombs(attacker: Attacker) -> None:
    """Twelve clients send images of one bit with as many pixels as are allowed, and more."""
    buffer = io.BytesIO()
    Image.new("1", (2000, 2000)).save(buffer, "PNG", optimize=True)
    image = {"png": base64.b64encode(buffer.getvalue()).decode()}
    requests = [
        post("/v1/predict", json.dumps({"images": [image] * number}).encode(), CLOSE) for number in (4, 64)
    ]
    attacker.ask_on_and_on(12, lambda: random.choice(requests))


def endless_heads(attacker: Attacker) -> None:
    """Sixteen clients send a head of 1 MB."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MIB
    attacker.ask_on_and_on(16, lambda: request)


def metrics(attacker: Attacker) -> None:
    """50 clients ask for /metrics."""
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    attacker.ask_on_and_on(50, lambda: request)


def silent_connections(attacker: Attacker) -> None:
    """1,000 connections say nothing."""
    attacker.hold(1000, b"")


def requests_sent_ahead(attacker: Attacker) -> None:
    """Eight clients send 2,000 requests at once on one connection, again and again."""
    request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000
    attacker.ask_on_and_on(8, lambda: request)


def attacks_and_certificates(attacker: Attacker) -> None:
    """Sixteen clients ask for the dearest attacks and certificates."""
    certify = {"images": [THREE] * 64, "epsilon": 0.3}
    attack = {"images": [THREE], "attack": "square", "epsilon": 0.01, "steps": 5000}
    requests = [
        post("/v1/certify", json.dumps(certify).encode(), CLOSE),
        post("/v1/attack", json.dumps(attack).encode(), CLOSE),
    ]
    attacker.ask_on_and_on(16, lambda: random.choice(requests))


def mutated_requests(attacker: Attacker) -> None:
    """Eight clients send honest requests with bytes changed, left out or doubled."""
    honest = [_explain(1), post("/v1/predict", json.dumps({"images": [THREE]}).encode(), CLOSE)]

    def mutated() -> bytes:
        request = bytearray(random.choice(honest))
        for _ in range(random.randint(1, 8)):
            at = random.randrange(len(request) if random.random() < 0.5 else 200)
            request[at : at + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
        return bytes(request)

    attacker.ask_on_and_on(8, mutated)


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        invalid_bodies, invalid_tensors, bodies_of_one_byte, half_bodies, unread_explanations,
        explained_pictures, bombs, endless_heads, metrics, silent_connections, requests_sent_ahead,
        attacks_and_certificates, mutated_requests,
    )
}  # fmt: skip


def main() -> None:
    task = read_task()
    random.seed(task.seed)
    attacker = Attacker(task.port, task.seconds)
    ATTACKS[task.kind](attacker)
    failed = attacker.seen["500"]
    tell(attacker.seen, [f"{failed} requests were answered by 500"] if failed else [])


if __name__ == "__main__":
    main()
