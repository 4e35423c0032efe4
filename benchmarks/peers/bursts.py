"""Whether one bad request takes good ones down with it.

A burst is 15 good requests and a bad one, sent at the same moment on 16 open connections, the bad one at a
random place. A good request fails if its answer is not 200 or shows another label than onnxruntime's.
"""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.measuring import save_servers, show
from benchmarks.peers.catalogue import Image
from benchmarks.peers.servers import Server, body_of, digits, offline, running
from benchmarks.peers.wire import Answer, connect, post

BURSTS, GOOD = 30, 15


def _one_row_less(image: Image) -> Image:
    return image[1:]


def _text_for_a_number(image: Image) -> Any:
    return [["NaN", *image[0][1:]], *image[1:]]


BAD = {"27 rows": _one_row_less, '"NaN" for a number': _text_for_a_number}


def compare(names: list[str], environments: Path, seed: int) -> None:
    """Sends the bursts to every server, prints and saves who failed."""
    rows, results = [], {}
    for name in names:
        for kind in BAD:
            with running(name, environments) as server:
                found = uvloop.run(_bursts(server, kind, random.Random(seed)))
            results[f"{name}, {kind}"] = found
            bad = ", ".join(f"{count} x {status}" for status, count in found["bad_answered"].items())
            rows.append([name, kind, found["good"], found["good_failed"], bad])
    columns = ["server", "the bad one", "good requests", "of them failed", "bad ones answered"]
    show(f"{BURSTS} bursts of {GOOD} good requests and a bad one", columns, rows)
    save_servers("peers_bursts", {"seed": seed}, results)


async def _bursts(server: Server, kind: str, chance: random.Random) -> dict[str, Any]:
    images = digits()[:: len(digits()) // GOOD][:GOOD]
    expected = offline().run(["logits"], {"image": images})[0].argmax(1)
    good = [post(server.peer.path, body_of(server.peer, image[0].tolist())) for image in images]
    bad = post(server.peer.path, body_of(server.peer, BAD[kind](images[0, 0].tolist())))
    failed, bad_answered = Counter[str](), Counter[str]()
    for _ in range(BURSTS):
        place = chance.randrange(GOOD + 1)
        answers = await _at_once(server.port, [*good[:place], bad, *good[place:]])
        answer = answers.pop(place)
        bad_answered[str(answer.status) if answer else "nothing"] += 1
        for answer, label in zip(answers, expected, strict=True):
            if not _is_right(server, answer, label):
                failed[str(answer.status) if answer else "nothing"] += 1
    return {
        "good": BURSTS * GOOD,
        "good_failed": failed.total(),
        "good_failed_by_status": dict(failed),
        "bad_answered": dict(bad_answered),
    }


async def _at_once(port: int, requests: list[bytes]) -> list[Answer | None]:
    connections = [await connect(port) for _ in requests]
    try:
        async with asyncio.timeout(30):
            asked = zip(connections, requests, strict=True)
            return await asyncio.gather(*(connection.ask(request) for connection, request in asked))
    finally:
        for connection in connections:
            connection.transport.abort()


def _is_right(server: Server, answer: Answer | None, label: int) -> bool:
    if answer is None or answer.status != 200:
        return False
    return bool(np.argmax(server.peer.probabilities(json.loads(answer.body))) == label)
