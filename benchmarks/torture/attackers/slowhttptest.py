"""slowhttptest's four modes, and what it says of the service: whether it was there all the time.

Each mode opens 500 connections, nearly as many as one address may have, and asks once a second on one more.
"""

import csv
import subprocess
import tempfile
from pathlib import Path

from benchmarks.torture.task import read_task, tell

CONNECTIONS = 500
MODES = {
    "slow_heads": ["-H", "-i", "2", "-x", "24"],
    "slow_bodies": ["-B", "-i", "2", "-s", "8192", "-x", "10"],
    "ranges": ["-R", "-a", "10", "-b", "3000"],
    "slow_reading": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"],
}


def command_of(mode: str, port: int, seconds: int, report: Path) -> list[str]:
    """Returns the command line; the report is written beside `report`, with .csv behind."""
    url = f"http://127.0.0.1:{port}/v1/models"
    common = ["-c", str(CONNECTIONS), "-r", "250", "-l", str(seconds), "-v", "0", "-g", "-o", str(report)]
    return ["slowhttptest", "-u", url, *common, *MODES[mode]]


def read_report(text: str) -> tuple[dict[str, int], list[str]]:
    """Returns what a report (CSV, a row a second) says, and what in it should not be."""
    rows = [list(map(int, row)) for row in list(csv.reader(text.splitlines()))[1:]]
    unavailable = [second for second, *_, available in rows if not available]
    saw = {
        "connected": max((connected for _, _, _, connected, _ in rows), default=0),
        "closed": rows[-1][1] if rows else 0,
        "seconds available": len(rows) - len(unavailable),
        "seconds unavailable": len(unavailable),
    }
    findings = [f"slowhttptest found the service unavailable in second {second}" for second in unavailable]
    return saw, findings if rows else ["slowhttptest reported nothing"]


def main() -> None:
    task = read_task()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report"
        command = command_of(task.kind, task.port, round(task.seconds), report)
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        written = report.with_suffix(".csv")
        tell(*read_report(written.read_text() if written.exists() else ""))


if __name__ == "__main__":
    main()
