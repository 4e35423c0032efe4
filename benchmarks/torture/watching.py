"""One hostile client beside the honest ones: what they saw, and what the service held meanwhile."""

import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.torture import service
from benchmarks.torture.task import Task

_START_SECONDS = 3  # until an attacker has read its digits
_END_SECONDS = 300  # and at most until it says what it saw
_SAMPLE_SECONDS = 0.5


def watch(task: Task, module: str, crowded: bool, tries: int = 1) -> dict[str, Any]:
    """Attacks, beside the honest clients.

    Args:
        task: Of the attacker.
        module: Which of `benchmarks.torture.attackers` it is; empty for none.
        crowded: Whether there is a second honest client.
        tries: How often the honest send a request whose connection breaks.

    Returns:
        Latencies of the steady client, counts of all honest ones, the most memory in megabytes, and what the
        attacker saw and found.
    """
    names = ["steady", "crowd"] if crowded else ["steady"]
    honest = [_start_honest(name, task, tries) for name in names]
    attacker = _start(f"attackers.{module}", *task.arguments()) if module else None
    megabytes, of_all = _most_memory(task.service, honest)
    told = _told(attacker) if attacker else {"saw": {}, "findings": []}
    saw = [json.loads(each.communicate()[0]) for each in honest]
    predictions = {key: sum(one[key] for one in saw) for key in ("asked", "wrong", "sent_again")}
    lost: Counter[str] = Counter()
    for one in saw:
        lost.update(one["lost"])
    return {**saw[0], **predictions, "lost": lost, "megabytes": megabytes, "megabytes_of_all": of_all, **told}


def added(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Returns what was seen in another round too: sums of what is counted, and the most memory.

    Latencies are those of the first round: later ones have a crowd on the same two cores.
    """
    if before is None:
        return now
    worst = ("megabytes", "megabytes_of_all")
    counted = ("asked", "wrong", "sent_again", "findings")
    return {
        **before,
        **{key: max(before[key], now[key]) for key in worst},
        **{key: before[key] + now[key] for key in counted},
        **{key: _sums(before[key], now[key]) for key in ("lost", "saw")},
    }


def _sums(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    return {key: before.get(key, 0) + now.get(key, 0) for key in before | now}


def _start(module: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", f"benchmarks.torture.{module}", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _start_honest(name: str, task: Task, tries: int) -> "subprocess.Popen[str]":
    honest = _start("honest", name, str(task.port), str(task.seconds + _START_SECONDS), str(tries))
    assert honest.stdout is not None
    assert honest.stdout.readline() == "ready\n"
    return honest


def _most_memory(pid: int, honest: list["subprocess.Popen[str]"]) -> tuple[int, int]:
    """Returns the most of one serving process and of all processes of the service, until the honest end."""
    most = of_all = 0.0
    while any(each.poll() is None for each in honest):
        most = max(most, *map(service.resident_megabytes, service.serving_processes(pid)))
        of_all = max(of_all, service.megabytes_of_all(pid))
        time.sleep(_SAMPLE_SECONDS)
    return round(most), round(of_all)


def _told(attacker: "subprocess.Popen[str]") -> dict[str, Any]:
    said = attacker.communicate(timeout=_END_SECONDS)[0]
    if attacker.returncode:
        return {"saw": {}, "findings": [f"the attacker ended with {attacker.returncode}"]}
    return dict(json.loads(said))
