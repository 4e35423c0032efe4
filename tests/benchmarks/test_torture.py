"""The torture run: it attacks for real, and an honest client notices nothing."""

import json
import subprocess
import sys

from running import ROOT


def test_an_honest_client_loses_nothing_amid_mutated_requests():
    command = [sys.executable, "-m", "benchmarks.torture", "--seconds", "3", "--only", "mutated_requests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("mutated_requests {")]
    seen = json.loads(lines[0].partition(" ")[2])
    assert seen["asked"] == 6 * 200
    assert (seen["lost"], seen["wrong"]) == ({}, 0)
    assert sum(seen["attacker_saw"].values()) > 20
