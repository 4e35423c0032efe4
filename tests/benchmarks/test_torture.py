"""The torture run: it attacks for real, and an honest client notices nothing."""

import json
import subprocess
import sys

from running import ROOT

from benchmarks.torture.slowhttptest import read_report


def test_an_honest_client_loses_nothing_amid_mutated_requests():
    command = [sys.executable, "-m", "benchmarks.torture", "--seconds", "3", "--predictions", "0"]
    command += ["--only", "mutated_requests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("mutated_requests {")]
    seen = json.loads(lines[0].partition(" ")[2])
    assert seen["asked"] == 6 * 200
    assert (seen["lost"], seen["wrong"]) == ({}, 0)
    assert sum(seen["saw"].values()) > 20
    assert "Honest predictions: 2,400, lost 0, wrong 0." in done.stdout


REPORT = """Seconds,Closed,Pending,Connected,Service Available
0,0,1,0,500
1,3,1,488,500
2,87,0,413,{available}
"""


def test_what_slowhttptest_says_of_the_service_is_read():
    saw, findings = read_report(REPORT.format(available=500))
    assert saw == {"connected": 488, "closed": 87, "seconds available": 3, "seconds unavailable": 0}
    assert not findings
    assert read_report(REPORT.format(available=0))[1] == [
        "slowhttptest found the service unavailable in second 2"
    ]
    assert read_report("")[1] == ["slowhttptest reported nothing"]
