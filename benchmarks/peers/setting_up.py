"""A virtual environment for each peer, with pinned versions."""

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.peers.catalogue import PEERS

_STAMP = "installed.txt"


def set_up(names: list[str], environments: Path) -> None:
    """Makes the environments that are missing or have other pins."""
    for name in names:
        pins = PEERS[name].pins
        stamp = environments / name / _STAMP
        wanted = "\n".join(pins)
        if not pins or (stamp.exists() and stamp.read_text() == wanted):
            Console().print(f"{name}: nothing to do.")
            continue
        Console().print(f"{name}: installing {', '.join(pins)} ...")
        subprocess.run([sys.executable, "-m", "venv", "--clear", environments / name], check=True)
        pip = environments / name / "bin" / "pip"
        subprocess.run([pip, "install", "-qq", *pins], check=True)
        stamp.write_text(wanted)
