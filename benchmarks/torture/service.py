"""The service under torture: as it is shipped, each of its processes held to a gigabyte by the system."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.servers import megabytes_of, process_tree
from benchmarks.serving import BIN, free_port, until_first_answer

# Of what a process writes (RLIMIT_DATA): heap, stacks, private mappings, but no reservations and no files. At
# rest a serving process has 390 MB of it, about as much as is in memory. Beyond it the system gives nothing.
MOST_BYTES = 2**30


@contextmanager
def running(*options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Starts `whitebox serve`; yields its port and its process, and ends it."""
    port = free_port()
    process = subprocess.Popen(
        [
            *("prlimit", f"--data={MOST_BYTES}"),
            *(str(BIN / "whitebox"), "serve", "--port", str(port), "--log-level", "error", *options),
        ]
    )
    try:
        until_first_answer(f"http://127.0.0.1:{port}/v1/predict", time.perf_counter())
        yield port, process
    finally:
        process.terminate()
        process.wait()


def serving_processes(pid: int) -> list[int]:
    """Returns the processes that answer requests: itself, or of several those that it started for that."""
    return [child for child in process_tree(pid)[1:] if _is_spawned(child)] or [pid]


def is_running(pid: int) -> bool:
    """Tells whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def resident_megabytes(pid: int) -> float:
    """Returns the memory of one process, 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def megabytes_of_all(pid: int) -> float:
    """Returns the memory of a process and all that descend from it; what they share counts once."""
    return sum(megabytes_of(each) for each in process_tree(pid))


def _is_spawned(pid: int) -> bool:
    """Tells a serving process from its supervisor's helpers, as multiprocessing names them."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False
