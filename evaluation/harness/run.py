"""Evaluating one network: jobs are planned, done by workers, kept in a cache, and added up to a card."""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.evaluated_model import EvaluatedModel
from evaluation.harness.card import card_results, robustbench_fields
from evaluation.harness.measurements import Measurement, Measurements
from evaluation.harness.plan import Plan, plan_suite
from evaluation.harness.shard import Job, ShardResult
from evaluation.harness.shard_cache import ShardCache
from evaluation.harness.suite import Suite, cost
from evaluation.harness.workers import Workers, in_this_process
from model.package import write_atomically
from training.data import Dataset
from training.progress import progress_bar
from training.versions import code_versions, machine


def evaluate(
    model: EvaluatedModel,
    dataset: Dataset,
    card: Path,
    suite: Suite | None = None,
    workers: Workers = in_this_process,
    processes: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measures a network and writes its card; what an earlier, killed call finished is not done again.

    Args:
        model: The network.
        dataset: The images to measure it on.
        card: Where the JSON goes. Finished shards stay beside it, in NAME.shards.
        suite: What to measure; by default everything that can be measured.
        workers: Where the jobs run (workers.py).
        processes: How many there are, for the card.
        quiet: Whether to show no progress.

    Raises:
        ShardError: A job failed; the message names it.
    """
    started = time.perf_counter()
    model.network.eval()
    plan = Plan.of(model, dataset, suite or plan_suite(model))
    cache = ShardCache.next_to(card, model.network)
    before = cache.seconds_before()

    def seconds() -> float:
        return before + time.perf_counter() - started

    results = _results(plan, cache, workers, quiet, seconds)
    content = {
        **_card(model, dataset, plan, results),
        "seconds": round(seconds(), 1),
        "processes": processes,
    }
    write_atomically(card, (json.dumps(content, indent=2) + "\n").encode())
    return content


_Results = dict[str, dict[int, ShardResult]]


def _card(model: EvaluatedModel, dataset: Dataset, plan: Plan, results: _Results) -> dict[str, Any]:
    """Returns the card but for what depends on the machine's speed."""
    further_checks = [plan.agreement] if plan.agreement else []
    card = {
        **model.head(),
        "code": code_versions(),
        "data": dataset.origin(),
        "machine": machine(),
        "whole_suite": plan.suite.whole,
        "trust_certificates": plan.suite.trust_certificates,
        **card_results(_measurements(plan, results), len(model.labels), further_checks),
    }
    fields = robustbench_fields(card)
    return card if fields is None else {**card, "robustbench": fields}


def _results(
    plan: Plan, cache: ShardCache, workers: Workers, quiet: bool, seconds: Callable[[], float]
) -> _Results:
    """Returns every shard's result by measurement and first image, from the cache or from the workers."""
    found: _Results = {entry.name: {} for entry in plan.suite.entries}
    total = sum(cost(entry) * len(plan.chosen(entry)) for entry in plan.suite.entries)
    with progress_bar(quiet) as progress:
        task = progress.add_task("", total=total, numbers="")

        def finish(job: Job, result: ShardResult) -> None:
            found[job.entry.name][job.first] = result
            done, numbers = cost(job.entry) * len(job.images), _accuracy(found[job.entry.name])
            progress.update(task, advance=done, description=f"{job.entry.name:14}", numbers=numbers)

        def missing() -> Iterator[Job]:
            for job in itertools.chain.from_iterable(map(plan.jobs, plan.suite.entries)):
                known = cache.load(job)
                if known is None:
                    yield job
                else:
                    finish(job, known)

        for job, result in workers(missing()):
            cache.save(job, result)
            cache.spend(seconds())
            finish(job, result)
    return found


def _accuracy(shards: Mapping[int, ShardResult]) -> str:
    """Returns the accuracy of an attack, or the share that is certified, over the shards that are done."""
    withstood = [flag for shard in shards.values() for flag in shard.withstood]
    return f"accuracy {sum(withstood) / len(withstood):.2%}"


def _measurements(plan: Plan, results: _Results) -> Measurements:
    by_name = {}
    for entry in plan.suite.entries:
        shards = [result for _, result in sorted(results[entry.name].items())]
        by_name[entry.name] = Measurement.joined(entry, plan.chosen(entry), shards)
    return Measurements(plan.suite.epsilon, plan.correct, by_name)
