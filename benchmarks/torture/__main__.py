"""Hostile clients against the service as it is shipped, one after the other, beside honest ones.

    python -m benchmarks.torture    (needs apt-get install slowhttptest nginx-light)

One honest client asks for 200 predictions a second from another address, and its latencies in the first
round are told. In further rounds a crowd asks for 1,000 more, until all are as many as `--predictions` says.
Each answer is compared with onnxruntime's. Ends with 1 if one was lost or wrong, if a hostile client found
what it must not find, or if the service ended or held more than 1 GB, beyond which the system gives its
processes no memory. Loopback only.
"""

import json
import shutil
from collections import Counter
from itertools import count
from typing import Annotated, Any

import typer

from benchmarks.measuring import save, show
from benchmarks.torture.attackers import fuzz, own, slowhttptest
from benchmarks.torture.attackers.kills import PROCESSES
from benchmarks.torture.service import MOST_BYTES, running
from benchmarks.torture.task import Task
from benchmarks.torture.watching import added, watch

P99_MS = 250
LONG, LONGER = ("raw_requests", "fuzz", "kills"), 4  # they go on for so many times as long
TRIES = 3  # of a request whose connection broke, where serving processes are killed
# Who attacks, by the module that does.
KINDS = {
    "nobody": "",
    **dict.fromkeys(own.ATTACKS, "own"),
    **dict.fromkeys(slowhttptest.MODES, "slowhttptest"),
    "raw_requests": "raw_requests",
    "nginx": "proxy",
    **dict.fromkeys(fuzz.READERS, "fuzz"),
    "killed_processes": "kills",
}
PROGRAMS = {"slowhttptest": "slowhttptest", "proxy": "nginx"}  # of others, by the module that runs them

Found = dict[str, dict[str, Any]]


def one_round(seed: int, kinds: list[str], seconds: int, enough: int, found: Found) -> None:
    """Lets every kind attack once; adds what was seen to what was found before.

    A round after the first is crowded, and ends when there were enough honest predictions.
    """
    killing = [kind for kind in kinds if KINDS[kind] == "kills"]
    others = [kind for kind in kinds if kind not in killing]
    for of_service, tries, options in ((others, 1, ()), (killing, TRIES, ("--workers", str(PROCESSES)))):
        if not of_service:
            continue
        with running(*options) as (port, process):
            for kind in of_service:
                if seed > 0 and judged(found)[0]["predictions"] >= enough:
                    return
                longer = LONGER if KINDS[kind] in LONG else 1
                task = Task(kind, port, seconds * longer, seed, process.pid)
                saw = watch(task, KINDS[kind], seed > 0, tries)
                print(kind, json.dumps(saw), flush=True)
                if process.poll() is not None:
                    saw["findings"].append("the service ended")
                found[kind] = added(found.get(kind), saw)


def judged(found: Found) -> tuple[dict[str, Any], bool]:
    """Returns the honest predictions of all attacks in numbers, and whether all of it went well."""
    rows = found.values()
    lost = sum((Counter(row["lost"]) for row in rows), Counter[str]())
    honest = {
        "predictions": sum(row["asked"] for row in rows),
        "lost": lost.total(),
        "wrong": sum(row["wrong"] for row in rows),
    }
    too_much = any(row["megabytes"] > MOST_BYTES / 2**20 for row in rows)
    findings = any(row["findings"] for row in rows)
    return honest, not (honest["lost"] or honest["wrong"] or too_much or findings)


def report(found: Found) -> None:
    """Prints a row for every attack, who was slow, and what was found."""
    columns = ["attack", "asked", "lost", "wrong", "p50 ms", "p99 ms", "max ms", "MB", "all MB", "findings"]
    keys = ("asked", "wrong", "p50_ms", "p99_ms", "max_ms", "megabytes", "megabytes_of_all")
    rows = []
    for kind, row in found.items():
        asked, *others = (row[key] for key in keys)
        rows.append([kind, asked, sum(row["lost"].values()), *others, len(row["findings"])])
    show("Honest clients amid attacks", columns, rows)
    if slowed := [kind for kind, row in found.items() if row["p99_ms"] > P99_MS]:
        print(f"p99 above {P99_MS} ms: {', '.join(slowed)}")
    for kind, row in found.items():
        for finding in row["findings"]:
            print(f"{kind}: {finding}")


def main(
    seconds: Annotated[int, typer.Option(help="Of each attack.")] = 13,
    only: Annotated[list[str] | None, typer.Option(help="Names of attacks; all unless given.")] = None,
    predictions: Annotated[
        int, typer.Option(help="Honest ones, at least; 0: one round, without a crowd.")
    ] = 1_000_000,
) -> None:
    """Attacks the service in every way and reports what honest clients noticed."""
    if unknown := set(only or ()) - set(KINDS):
        raise typer.BadParameter(
            f"no attack is named {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}"
        )
    kinds = ["nobody", *(only or [kind for kind in KINDS if kind != "nobody"])]
    needed = {PROGRAMS[module] for module in map(KINDS.__getitem__, kinds) if module in PROGRAMS}
    if missing := [program for program in sorted(needed) if shutil.which(program) is None]:
        raise SystemExit(f"missing: {', '.join(missing)}; apt-get install slowhttptest nginx-light")
    found: Found = {}
    for seed in count():
        one_round(seed, kinds, seconds, predictions, found)
        honest, went_well = judged(found)
        if honest["predictions"] >= predictions:
            break
    report(found)
    print("Honest predictions: {predictions:,}, lost {lost}, wrong {wrong}.".format(**honest))
    if only is None:
        save("torture", {"seconds_of_each": seconds, "honest": honest, "attacks": found})
    if not went_well:
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
