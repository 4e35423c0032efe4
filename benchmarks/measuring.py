"""What all benchmarks share: timing, tables, and a JSON file beside each."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from model.package_directory import newest_package

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = newest_package(ROOT / "artifacts", "mnist-3v5").directory
RESULTS = Path(__file__).resolve().parent / "results"


def seconds(work: Callable[[], Any], repeat: int, warm_up: int = 3) -> float:
    """Returns the median time of one call."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def show(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Prints a table."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=110).print(table)


def save_servers(name: str, setting: dict[str, Any], servers: dict[str, Any]) -> None:
    """Saves what was measured of servers, unless that lacks some that are there: they may be cited."""
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text())["servers"] if path.exists() else {}
    if lacking := before.keys() - servers.keys():
        Console().print(f"{path.relative_to(ROOT)} stays, which also has: {', '.join(sorted(lacking))}.")
    else:
        save(name, {**setting, "servers": servers})


def save(name: str, results: dict[str, Any]) -> None:
    """Writes the results with what they depend on to benchmarks/results/NAME.json."""
    packages = ("whitebox-serving", "onnxruntime", "fastapi", "uvicorn", "torch", "numpy")
    setting = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {package: version(package) for package in packages},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"setting": setting, **results}, indent=2) + "\n")
    Console().print(f"Written to {path.relative_to(ROOT)}.")
