"""Inferring together what is asked at the same time, against one by one: is it worth it?

    python -m benchmarks.batching

The whole application, called in this process without a socket, by 1 to 64 callers at once; with the batcher
and with each request inferred by itself, by turns. Prints microseconds a request.
"""

import asyncio
import json
import statistics
import time
from typing import Any

import uvloop

from benchmarks.measuring import save, show
from benchmarks.serving import one_digit
from service.app import create_app
from service.codecs.serialization import Predicted
from service.inference.batcher import Batcher
from service.inference.engine import Images
from service.settings import Settings

CALLERS = (1, 4, 16, 64)
REQUESTS, ROUNDS = 640, 9


async def one_by_one(self: Batcher, images: Images, deadline: float) -> Predicted:  # noqa: ARG001
    return self._infer(images)


async def call(app: Any, body: bytes) -> None:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": "/v1/predict", "raw_path": b"/v1/predict", "query_string": b"", "root_path": "",
        "scheme": "http", "client": None, "server": None,
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200, message

    await app(scope, receive, send)


async def microseconds(app: Any, body: bytes, callers: int) -> float:
    started = time.perf_counter()
    for _ in range(REQUESTS // callers):
        await asyncio.gather(*(call(app, body) for _ in range(callers)))
    return 1e6 * (time.perf_counter() - started) / REQUESTS


async def compare() -> dict[str, dict[str, float]]:
    app = create_app(Settings(attack_workers=0, certify_workers=0))
    body = json.dumps({"images": [one_digit()]}).encode()
    ways = {"together": Batcher.predict, "one by one": one_by_one}
    found: dict[str, dict[str, list[float]]] = {
        str(callers): {way: [] for way in ways} for callers in CALLERS
    }
    async with app.router.lifespan_context(app):
        await microseconds(app, body, 1)
        for round_number in range(ROUNDS):
            for callers in CALLERS:
                for way in sorted(ways, reverse=round_number % 2 == 0):
                    Batcher.predict = ways[way]  # type: ignore[method-assign]
                    found[str(callers)][way].append(await microseconds(app, body, callers))
    return {
        callers: {way: statistics.median(times) for way, times in by_way.items()}
        for callers, by_way in found.items()
    }


def main() -> None:
    found = uvloop.run(compare())
    rows = [
        [callers, f"{times['together']:.0f}", f"{times['one by one']:.0f}",
         f"{times['one by one'] / times['together']:.2f}"]
        for callers, times in found.items()
    ]  # fmt: skip
    show("microseconds a request", ["callers", "together", "one by one", "ratio"], rows)
    save("batching", found)


if __name__ == "__main__":
    main()
