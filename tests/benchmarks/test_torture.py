"""The torture run: it attacks for real, and an honest client notices nothing."""

import asyncio
import json
import shutil
import subprocess
import sys
from random import Random

import pytest
from running import ROOT

from benchmarks.torture.attackers import fuzz
from benchmarks.torture.attackers.grammar import spoilt, stream_of
from benchmarks.torture.attackers.proxy import ask_through, nginx
from benchmarks.torture.attackers.raw_requests import Seen, compare, plain_uvicorn, statuses_of
from benchmarks.torture.attackers.readers import READERS, corpus
from benchmarks.torture.attackers.slowhttptest import read_report
from benchmarks.torture.task import Task
from benchmarks.torture.watching import added


@pytest.mark.slow  # test_faults.py has the core of it
def test_an_honest_client_loses_nothing_amid_mutated_requests():
    command = [sys.executable, "-m", "benchmarks.torture", "--seconds", "3", "--predictions", "0"]
    command += ["--only", "mutated_requests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
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


def test_the_service_reads_the_same_requests_out_of_raw_bytes_as_uvicorn_alone(client):
    cases = (stream_of(Random(f"test/{number}")) for number in range(200))
    with plain_uvicorn() as uvicorn:
        saw, findings = asyncio.run(compare(client.base_url.port, uvicorn, cases))
    assert not findings
    assert saw["cases"] == 200
    assert saw["200"] > 30
    assert saw["no HTTP"] > 30


def test_a_disagreement_on_raw_bytes_is_seen():
    one, two, no_http = Seen((200,), False), Seen((200, 200), False), Seen((200, 0), True)
    assert Seen((404,), False).agrees(one)
    assert Seen((200, 422), False).agrees(one)  # before the rest of its body was there
    assert Seen((421,), True).agrees(Seen((), False))  # likewise, and it asked to close
    assert not two.agrees(one)
    assert not one.agrees(two)
    assert not two.agrees(no_http)
    assert not Seen((200, 0), False).agrees(no_http)
    answers = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert list(statuses_of(answers + b"HTTP/1.1 405 No\r\ncontent-length: 9\r\n\r\n")) == [200, 405]


def test_every_reader_is_fuzzed():
    assert tuple(READERS) == fuzz.READERS


@pytest.mark.parametrize("reader", READERS)
def test_nothing_undocumented_escapes_from_the_reader_of(reader):
    random, read = Random(reader), READERS[reader]
    for content in corpus(reader):
        read(content)
        for _ in range(20):
            read(spoilt(random, content))


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx (apt-get install nginx-light)")
def test_through_nginx_every_answer_belongs_to_its_request(client):
    port = client.base_url.port
    with nginx(port) as ports:
        honest = asyncio.run(ask_through(ports, Task("nginx", port, 2, 0, 0)))
    assert not honest.findings
    assert honest.saw["honest answers"] > 20
    assert honest.saw["odd clients"] > 8


def test_rounds_add_up_to_sums_and_the_worst():
    times = {"p50_ms": 1.0, "p99_ms": 9.0, "max_ms": 20.0, "megabytes": 400, "megabytes_of_all": 700}
    one = {
        **times,
        "asked": 100,
        "wrong": 0,
        "sent_again": 2,
        "findings": ["a"],
        "lost": {"503": 1},
        "saw": {"cases": 0},
    }
    two = {
        **one,
        "p99_ms": 7.0,
        "megabytes": 500,
        "findings": [],
        "lost": {"503": 2, "429": 1},
        "saw": {"kills": 3},
    }
    assert added(None, one) == one
    assert added(one, two) == {
        **times, "megabytes": 500, "asked": 200, "wrong": 0, "sent_again": 4, "findings": ["a"],
        "lost": {"503": 3, "429": 1}, "saw": {"cases": 0, "kills": 3},
    }  # fmt: skip
