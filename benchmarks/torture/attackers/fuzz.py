"""atheris, libFuzzer for Python, on the readers of images and JSON: whatever they do not document ends it.

What is reached of the service and of Pillow's Python guides it; C and Rust are not instrumented.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.torture.task import read_task, tell

READERS = ("image_file", "predict_body", "infer_body")
_LONGEST = 16_384  # bytes of a case
_ONE_CASE = 10  # seconds
_MEGABYTES = 1024  # at once
# In all: atheris keeps the arrays that instrumented code compares, 80 KB a case; without it nothing is kept.
_MEGABYTES_WITH_ATHERIS = 4096
_EXECUTED = re.compile(r"stat::number_of_executed_units: *(\d+)")
_REACHED = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_LAST_WORDS = 1500


def main() -> None:
    """Fuzzes in a process of its own, which libFuzzer ends in its own way, and tells what it said."""
    task = read_task()
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "benchmarks.torture.attackers.fuzz", "--here", task.kind, directory]
        command += [str(round(task.seconds)), str(task.seed + 1)]  # libFuzzer takes 0 for none
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        crashes = [path.read_bytes() for path in sorted(Path(directory).glob("found-*"))]
    executed, reached = _EXECUTED.search(done.stderr), _REACHED.findall(done.stderr)
    saw = {
        "cases": int(executed[1]) if executed else 0,
        "branches reached": int(reached[-1][0]) if reached else 0,
        "kept": int(reached[-1][2]) if reached else 0,
    }
    findings = [f"{crash[:500]!r}" for crash in crashes]
    if done.returncode or not saw["cases"]:
        findings.append(f"ended with {done.returncode}: {done.stderr[-_LAST_WORDS:]}")
    tell(saw, findings)


def fuzz_here(kind: str, directory: str, seconds: str, seed: str) -> None:
    """Fuzzes a reader; does not return."""
    import atheris  # noqa: PLC0415 (it has no build for every machine)

    with atheris.instrument_imports(include=["service", "PIL"]):
        from benchmarks.torture.attackers import readers  # noqa: PLC0415

    for number, content in enumerate(readers.corpus(kind)):
        (Path(directory) / str(number)).write_bytes(content)
    options = {
        "max_total_time": seconds,
        "seed": seed,
        "max_len": _LONGEST,
        "timeout": _ONE_CASE,
        "malloc_limit_mb": _MEGABYTES,
        "rss_limit_mb": _MEGABYTES_WITH_ATHERIS,
        "artifact_prefix": f"{directory}/found-",
        "print_final_stats": 1,
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), directory],
        readers.READERS[kind],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        fuzz_here(*sys.argv[2:])
    else:
        main()
