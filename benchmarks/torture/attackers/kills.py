"""kill -9 of one serving process of two, again and again: another takes its place, nothing of it is left."""

import os
import random
import re
import signal
import time
import urllib.request
from collections.abc import Callable

from benchmarks.peers.servers import process_tree
from benchmarks.torture.service import is_running, serving_processes
from benchmarks.torture.task import read_task, tell

PROCESSES = 2
_BETWEEN_SECONDS = 5.0
_RECOVERY_SECONDS = 180.0  # on a busy machine a serving process starts slowly
_LIVE = re.compile(r'whitebox_workers\{pool="(\w+)"\} (\S+)')


def main() -> None:
    task = read_task()
    random.seed(task.seed)
    kills, descendants, end = 0, set[int](), time.monotonic() + task.seconds
    while time.monotonic() < end:
        serving = serving_processes(task.service)
        if len(serving) < PROCESSES:  # nobody took the place of the last one yet
            time.sleep(0.1)
            continue
        victim = random.choice(serving)
        descendants |= set(process_tree(victim))
        os.kill(victim, signal.SIGKILL)
        kills += 1
        time.sleep(_BETWEEN_SECONDS)
    checks: dict[str, Callable[[], bool]] = {
        f"there are not {PROCESSES} serving processes": (
            lambda: len(serving_processes(task.service)) == PROCESSES and _is_ready(task.port)
        ),
        "workers of killed processes still run": lambda: not any(map(is_running, descendants)),
        "/metrics counts workers of killed processes": (
            lambda: all(
                float(count) <= PROCESSES for _, count in _LIVE.findall(_asked(task.port, "/metrics"))
            )
        ),
    }
    tell({"kills": kills}, [finding for finding, is_well in checks.items() if not _in_time(is_well)])


def _in_time(is_well: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while not (well := is_well()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return well


def _is_ready(port: int) -> bool:
    return '"ready":true' in _asked(port, "/v2/health/ready")


def _asked(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


if __name__ == "__main__":
    main()
