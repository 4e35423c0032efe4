"""Evaluating one network: jobs are planned, done by workers, kept as parts, and added up to a card."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evaluation.harness.card import measured_part
from evaluation.harness.measured import Measured, Measurements
from evaluation.harness.parts import Parts
from evaluation.harness.plan import Plan, plan_suite
from evaluation.harness.shard import Job, ShardResult
from evaluation.harness.suite import Suite, cost
from evaluation.harness.workers import Workers, in_this_process
from evaluation.targets import Target
from model.package import write_atomically
from training.data.digits import Digits
from training.versions import code_versions, machine


def evaluate(
    target: Target,
    digits: Digits,
    card: Path,
    suite: Suite | None = None,
    workers: Workers = in_this_process,
    processes: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measures a network and writes its card; what an earlier, killed call finished is not done again.

    Args:
        target: The network.
        digits: The digits to judge it on.
        card: Where the JSON goes. Finished shards stay beside it, in NAME.parts.
        suite: What to measure; by default everything that can be measured.
        workers: Where the jobs run (workers.py).
        processes: How many there are, for the card.
        quiet: Whether to show no progress.

    Raises:
        ShardError: A job failed; the message names it.
    """
    started = time.perf_counter()
    target.network.eval()
    plan = Plan.of(target, digits, suite or plan_suite(target))
    parts = Parts.beside(card, target.network)
    before = parts.seconds_before()

    def seconds() -> float:
        return before + time.perf_counter() - started

    results = _results(plan, parts, workers, quiet, seconds)
    content = {
        **target.head(),
        "code": code_versions(),
        "data": {"source": digits.source, "count": len(digits), "sha256": digits.digest},
        "machine": machine(),
        "trust_certificates": plan.suite.trust_certificates,
        **measured_part(
            _measurements(plan, results), len(target.labels), [plan.agreement] if plan.agreement else []
        ),
        "seconds": round(seconds(), 1),
        "processes": processes,
    }
    write_atomically(card, (json.dumps(content, indent=2) + "\n").encode())
    return content


_Results = dict[str, dict[int, ShardResult]]


def _results(
    plan: Plan, parts: Parts, workers: Workers, quiet: bool, seconds: Callable[[], float]
) -> _Results:
    """Returns every shard's result by measurement and first digit, from parts or from the workers."""
    found: _Results = {planned.name: {} for planned in plan.suite.planned}
    total = sum(cost(planned) * len(plan.chosen(planned)) for planned in plan.suite.planned)
    with _progress(quiet) as progress:
        task = progress.add_task("", total=total)

        def finish(job: Job, result: ShardResult) -> None:
            found[job.planned.name][job.first] = result
            done = cost(job.planned) * len(job.images)
            progress.update(task, advance=done, description=job.planned.name)

        def missing() -> Iterator[Job]:
            for job in itertools.chain.from_iterable(map(plan.jobs, plan.suite.planned)):
                known = parts.load(job)
                if known is None:
                    yield job
                else:
                    finish(job, known)

        for job, result in workers(missing()):
            parts.save(job, result)
            parts.spend(seconds())
            finish(job, result)
    return found


def _measurements(plan: Plan, results: _Results) -> Measurements:
    by_name = {}
    for planned in plan.suite.planned:
        shards = [result for _, result in sorted(results[planned.name].items())]
        by_name[planned.name] = Measured.joined(planned, plan.chosen(planned), shards)
    return Measurements(plan.suite.epsilon, plan.right, by_name)


def _progress(quiet: bool) -> Progress:
    columns = TextColumn("{task.description:12}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%")
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), disable=quiet)
