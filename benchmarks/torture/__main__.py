"""One hostile client at a time against the service as it is shipped, beside an honest one.

    python -m benchmarks.torture    (slowhttptest too where it is there: apt-get install slowhttptest)

The honest client asks for 200 predictions a second from another address. Ends with 1 if one of its
answers was lost or wrong, if the service ended, or if it came to hold more than 1 GB. Loopback only.
"""

import json
import shutil
import subprocess
import sys
import time
from typing import Annotated, Any

import typer

from benchmarks.measuring import save, show
from benchmarks.serving import resident_megabytes, server
from benchmarks.torture.attacks import ATTACKS

MOST_MEGABYTES, P99_MS = 1024, 250
START = 3  # seconds until an attacker has read its digits
SLOWHTTPTEST = {
    "slowhttptest, slow heads": ["-H", "-i", "2", "-x", "24"],
    "slowhttptest, slow bodies": ["-B", "-i", "2", "-s", "8192", "-x", "10"],
    "slowhttptest, ranges": ["-R", "-a", "10", "-b", "3000"],
    "slowhttptest, slow reading": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"],
}


def command_of(kind: str, port: int, seconds: int) -> list[str] | None:
    """Returns what attacks, or None where nobody does."""
    if kind == "nobody":
        return None
    if kind in ATTACKS:
        return [sys.executable, "-m", "benchmarks.torture.attacks", kind, str(port), str(seconds)]
    url = f"http://127.0.0.1:{port}/v1/models"
    common = ["-c", "500", "-r", "250", "-l", str(seconds), "-v", "0"]
    return ["slowhttptest", "-u", url, *common, *SLOWHTTPTEST[kind]]


def watch(port: int, service: int, kind: str, seconds: int) -> dict[str, Any]:
    """Attacks for so long, beside the honest client; returns what both saw and the most memory."""
    ask = [sys.executable, "-m", "benchmarks.torture.honest", str(port), str(seconds + START)]
    honest = subprocess.Popen(ask, stdout=subprocess.PIPE, text=True)
    assert honest.stdout is not None
    assert honest.stdout.readline() == "ready\n"
    attack = command_of(kind, port, seconds)
    attacker = subprocess.Popen(attack, stdout=subprocess.PIPE, text=True) if attack else None
    most = 0.0
    while honest.poll() is None:
        most = max(most, resident_megabytes(service))
        time.sleep(0.1)
    answered = attacker.communicate(timeout=120)[0] if attacker else ""
    return {
        **json.loads(honest.stdout.read()),
        "megabytes": round(most),
        "attacker_saw": json.loads(answered) if kind in ATTACKS else {},
    }


def main(
    seconds: Annotated[int, typer.Option(help="Of each attack.")] = 15,
    only: Annotated[list[str] | None, typer.Option(help="Names of attacks; all unless given.")] = None,
) -> None:
    """Attacks the service in every way and reports what an honest client noticed."""
    slow = SLOWHTTPTEST if shutil.which("slowhttptest") else {}
    kinds = ["nobody", *(only or [*ATTACKS, *slow])]
    found: dict[str, dict[str, Any]] = {}
    with server("ours") as (url, service, _):
        port = int(url.rsplit(":", 1)[1].partition("/")[0])
        for kind in kinds:
            found[kind] = watch(port, service, kind, seconds)
            print(kind, json.dumps(found[kind]), flush=True)
    columns = ["attack", "asked", "lost", "wrong", "p50 ms", "p99 ms", "max ms", "MB"]
    keys = ("asked", "lost", "wrong", "p50_ms", "p99_ms", "max_ms", "megabytes")
    show(
        "An honest client amid attacks", columns, [[kind, *map(row.get, keys)] for kind, row in found.items()]
    )
    slowed = [kind for kind, row in found.items() if row["p99_ms"] > P99_MS]
    if slowed:
        print(f"p99 above {P99_MS} ms: {', '.join(slowed)}")
    if only is None:
        save("torture", {"seconds_of_each": seconds, "attacks": found})
    if any(row["lost"] or row["wrong"] or row["megabytes"] > MOST_MEGABYTES for row in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
