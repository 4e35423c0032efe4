"""Where jobs run: in this process, in processes of this machine, or on a Ray cluster.

Each way is a function from jobs to (job, result) pairs, in the order in which they finish.
"""

import importlib
import itertools
import multiprocessing
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from evaluation.harness.shard import Job, ShardResult, run_shard
from training.errors import MissingExtraError, TrainingError

FinishedJob = tuple[Job, ShardResult]
Workers = Callable[[Iterable[Job]], Iterator[FinishedJob]]


class ShardError(TrainingError):
    """A shard could not be computed; the message names it."""


def chosen_workers(processes: int | None, ray_address: str | None) -> tuple[Workers, int]:
    """Returns the workers that a command asks for, and how many there are; by default one a core."""
    if ray_address is not None:
        return on_ray(ray_address)
    count = processes or os.cpu_count() or 1
    return (in_this_process if count == 1 else in_processes(count)), count


def in_this_process(jobs: Iterable[Job]) -> Iterator[FinishedJob]:
    """Runs one job after the other."""
    for job in jobs:
        try:
            yield job, run_shard(job)
        except Exception as error:
            raise ShardError(f"{job.name} failed: {error!r}.") from error


def in_processes(count: int) -> Workers:
    """Returns workers in `count` new processes of this machine."""

    def run(jobs: Iterable[Job]) -> Iterator[FinishedJob]:
        waiting = iter(jobs)
        busy: list[_Process] = []
        try:
            busy += [_Process.start(job) for job in itertools.islice(waiting, count)]
            for worker in busy:  # not before all are started: it waits until the process has imported torch
                worker.give(worker.job)
            while busy:
                ready = wait([worker.connection for worker in busy])
                for worker in [worker for worker in busy if worker.connection in ready]:
                    yield worker.finished()
                    job = next(waiting, None)
                    if job is not None:
                        worker.give(job)
                    else:
                        busy.remove(worker)
                        worker.stop()
        finally:
            for worker in busy:
                worker.stop()

    return run


@dataclass
class _Process:
    """A process that takes a job at a time through its own pipe, so a crash is known to be that job's."""

    process: BaseProcess
    connection: "Connection[Any, Any]"
    job: Job

    @classmethod
    def start(cls, job: Job) -> "_Process":
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours, job)

    def give(self, job: Job) -> None:
        self.job = job
        # Pickled here, to plain bytes: torch would hand over each tensor as an open file.
        self.connection.send_bytes(pickle.dumps(job))

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()

    def finished(self) -> FinishedJob:
        """Returns what the process answered.

        Raises:
            ShardError: The job raised an exception, or the process died.
        """
        try:
            result, failure = self.connection.recv()
        except EOFError:
            self.process.join()
            raise ShardError(
                f"{self.job.name} failed: its process died (exit code {self.process.exitcode}; -9 is often a "
                f"lack of memory). What is finished is kept; the same command goes on."
            ) from None
        if failure is not None:
            last = failure.strip().splitlines()[-1]
            raise ShardError(f"{self.job.name} failed: {last}") from RuntimeError(failure)
        return self.job, result


def _serve(connection: "Connection[Any, Any]") -> None:
    """Answers jobs until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    while True:
        try:
            job: Job = pickle.loads(connection.recv_bytes())  # nosec B301: our own parent process
        except EOFError:
            return
        try:
            answer: tuple[ShardResult | None, str | None] = run_shard(job), None
        except Exception:  # whatever it is, the main process reports it
            answer = None, traceback.format_exc()
        connection.send(answer)


def on_ray(address: str) -> tuple[Workers, int]:
    """Returns workers on an existing Ray cluster and how many CPUs it has; its nodes need this project.

    Raises:
        MissingExtraError: Ray is not installed.
        TrainingError: There is no cluster at that address.
    """
    try:
        ray = importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingExtraError("--ray", "ray", "ray") from error
    try:
        _knock(address)
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise TrainingError(f"There is no Ray cluster at {address}: {error}") from error

    processors = int(ray.cluster_resources().get("CPU", 1))

    def run(jobs: Iterable[Job]) -> Iterator[FinishedJob]:
        remote = ray.remote(num_cpus=1)(run_shard)
        waiting = iter(jobs)
        running: dict[Any, Job] = {}
        while True:
            while len(running) < 2 * processors and (job := next(waiting, None)) is not None:
                running[remote.remote(job)] = job
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(done)
            try:
                yield job, ray.get(done)
            except ray.exceptions.RayError as error:
                raise ShardError(f"{job.name} failed: {str(error).strip().splitlines()[-1]}") from error

    return run, processors


def _knock(address: str) -> None:
    """Raises OSError at once where nothing listens; Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=5).close()
