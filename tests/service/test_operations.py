"""What an operator sees: metrics, logs, traces, readiness, several processes, the end."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client import CollectorRegistry, Histogram
from running import (
    NO_WORKERS,
    ROOT,
    WHITEBOX,
    another,
    metric,
    running_server,
    until,
    without_module,
    worker_ids,
)
from typer.testing import CliRunner, Result

from benchmarks.torture.service import serving_processes
from service.settings import Settings
from service.telemetry.metrics import BufferedHistogram
from whitebox.cli import app


def test_metrics_count_what_happened(client, three, package):
    before = {
        name: metric(client, name, **labels)
        for name, labels in (
            ("whitebox_requests_total", {"route": "/v1/predict", "status": "200"}),
            ("whitebox_rejections_total", {"reason": "invalid-input"}),
            ("whitebox_batch_images_sum", {}),
        )
    }
    for _ in range(3):
        client.post("/v1/predict", json={"images": [three, three]})
    client.post("/v1/predict", json={"images": []})
    client.post("/v1/attack", json={"images": [three], "attack": "fgsm", "epsilon": 0.01})
    assert metric(client, "whitebox_requests_total", route="/v1/predict", status="200") == (
        before["whitebox_requests_total"] + 3
    )
    assert metric(client, "whitebox_rejections_total", reason="invalid-input") == (
        before["whitebox_rejections_total"] + 1
    )
    assert metric(client, "whitebox_batch_images_sum") >= before["whitebox_batch_images_sum"] + 6
    for stage in ("read", "parse", "infer", "answer"):
        assert metric(client, "whitebox_stage_seconds_count", route="/v1/predict", stage=stage) > 0
    assert metric(client, "whitebox_attack_queries_total", model="mnist-3v5", attack="fgsm") > 0
    assert metric(client, "whitebox_queue_seconds_count", queue="predict") > 0
    assert metric(client, "whitebox_workers", pool="attacks") == 1
    assert metric(client, "whitebox_model_info", model="mnist-3v5", digest=package.digest) == 1
    assert metric(client, "whitebox_queue_depth", queue="predict") == 0


def test_metrics_tell_how_near_each_budget_of_the_process_is(client):
    settings = Settings()
    limits = {
        "requests": settings.max_requests,
        "waiting images": settings.max_waiting_images,
        "waiting attacks": settings.attack_queue,
        "waiting certificates": settings.certify_queue,
        "connections": settings.max_connections,
        "connections of one address": settings.max_connections_per_address,
        "buffered input bytes": settings.max_buffered_input_bytes,
        "buffered output bytes": settings.max_buffered_output_bytes,
        **{
            f"{kind} threads": settings.threads + settings.thread_queue
            for kind in ("parse", "unpack", "explain", "write")
        },
    }
    text = client.get("/metrics").text
    told = re.findall(r'whitebox_budget_limit{budget="(.*)"} (\S+)', text)
    found = {budget: float(limit) for budget, limit in told}
    assert 32 <= found.pop("predictions") <= settings.max_requests  # fewer while they are late
    assert found == limits
    assert re.findall(r'whitebox_budget_used{budget="(.*)"} ', text) == [budget for budget, _ in told]
    documented = (ROOT / "docs" / "operations.md").read_text()
    assert all(f"`{budget}`" in documented for budget, _ in told)


def test_a_waiting_attack_counts_against_its_budget(client, three):
    slow = {"images": [three], "attack": "square", "epsilon": 0.001, "steps": 100_000}
    headers = {"X-Request-Timeout-Ms": "4000"}
    asking = [
        threading.Thread(
            target=httpx.post,
            args=(client.base_url.join("/v1/attack"),),
            kwargs={"json": slow, "headers": headers, "timeout": 60},
        )
        for _ in range(3)
    ]
    for each in asking:
        each.start()
    until(lambda: metric(client, "whitebox_budget_used", budget="waiting attacks") >= 1, 60)
    for each in asking:
        each.join()
    assert metric(client, "whitebox_budget_used", budget="waiting attacks") == 0


def test_metrics_do_not_grow_with_the_paths_that_clients_make_up(client):
    for number in range(20):
        client.get(f"/v1/nothing-{number}")
    assert "nothing" not in client.get("/metrics").text


class Collector(HTTPServer):
    """Takes traces as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                found = ExportTraceServiceRequest.FromString(content)
                for resource in found.resource_spans:
                    for scope in resource.scope_spans:
                        self.server.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[Span] = []


@contextmanager
def collecting() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@dataclass(frozen=True)
class Observed:
    """What is left of a service that has answered a request and was told to end.

    Attributes:
        draining: The status of readiness, liveness and a prediction after SIGTERM.
    """

    port: int
    draining: tuple[int, int, int]
    exit_code: int
    log: str
    spans: list[Span]


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def observed(tmp_path_factory, digits) -> Observed:
    log = tmp_path_factory.mktemp("observed") / "log"
    with collecting() as collector:
        settings = {
            "WHITEBOX_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}/v1/traces",
            "WHITEBOX_ACCESS_LOG": "true",
            "WHITEBOX_DRAIN_SECONDS": "1.5",
            # Two that the options override.
            "WHITEBOX_PORT": "1",
            "WHITEBOX_LOG_LEVEL": "error",
        }
        with running_server(log=log, only="mnist-3v5", **settings, **NO_WORKERS) as (client, process):
            headers = {"X-Request-ID": "req-7", "traceparent": f"00-{TRACE}-{PARENT}-01"}
            ask = {"images": [digits[0][0].tolist()]}
            assert client.post("/v1/predict", json=ask, headers=headers).status_code == 200
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            draining = (
                client.get("/v2/health/ready").status_code,
                client.get("/v2/health/live").status_code,
                client.post("/v1/predict", json=ask).status_code,
            )
            exit_code = process.wait(timeout=15)
        return Observed(client.base_url.port, draining, exit_code, log.read_text(), collector.spans)


def test_log_lines_are_json_and_carry_the_requests_id(observed):
    lines = [json.loads(line) for line in observed.log.splitlines()]
    (line,) = [line for line in lines if line["request_id"] == "req-7"]
    assert (line["path"], line["status"], line["method"]) == ("/v1/predict", 200, "POST")
    assert line["milliseconds"] > 0
    assert {"time", "level", "logger", "message"} <= set(line)


@pytest.mark.slow
def test_several_serving_processes_share_their_numbers_and_what_is_unloaded(tmp_path, three):
    log, settings = tmp_path / "log", {"WHITEBOX_MODEL_CONTROL": "true", **NO_WORKERS}
    with running_server("--workers", "2", log=log, **settings) as (client, process):
        while log.read_text().count('"ready: ') < 2:
            time.sleep(0.1)
        seen = set()
        for _ in range(40):  # a connection each, so that both get some
            with another(client) as one:
                assert one.post("/v1/predict", json={"images": [three]}).status_code == 200
                seen.add(metric(one, "whitebox_requests_total", route="/v1/predict"))
        assert max(seen) == 40
        assert len(seen) == 40, "each process told its own numbers only"
        assert client.post("/v2/repository/models/mnist-10/unload").status_code == 200
        time.sleep(2.5)  # the other process looks every second
        unloaded, deadline = 0, time.monotonic() + 60
        while unloaded < 20:  # in a row, so both
            assert time.monotonic() < deadline
            with another(client) as one:
                unloaded = unloaded + 1 if one.get("/v2/models/mnist-10/ready").status_code == 404 else 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


@pytest.mark.slow
def test_serving_processes_that_start_slowly_are_waited_for(tmp_path, three):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif 'spawn_main' in str(sys.orig_argv): time.sleep(6)\n"
    )
    environment = {**NO_WORKERS, "PYTHONPATH": path_with(tmp_path)}
    with running_server("--workers", "2", only="mnist-3v5", **environment) as (client, process):
        first = serving_processes(process.pid)
        assert client.post("/v1/predict", json={"images": [three]}).status_code == 200
        assert serving_processes(process.pid) == first


def path_with(directory):
    return os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))


@pytest.mark.slow
def test_killed_serving_processes_are_replaced_and_no_longer_counted(three):
    with running_server("--workers", "2", only="mnist-3v5", **NO_WORKERS) as (client, process):
        address = ("127.0.0.1", client.base_url.port)
        with ExitStack() as held:
            for _ in range(20):
                held.enter_context(socket.create_connection(address))
            until(lambda: metric(client, "whitebox_budget_used", budget="connections") >= 10, 60)
            for serving in (killed := serving_processes(process.pid)):
                os.kill(serving, signal.SIGKILL)
        client.close()  # its connection may have been one of those that broke
        with another(client) as anew:
            assert anew.post("/v1/predict", json={"images": [three]}).status_code == 200
            assert metric(anew, "whitebox_budget_used", budget="connections") < 10
        until(lambda: len(set(serving_processes(process.pid)) - set(killed)) == 2, 60)


@pytest.mark.slow
def test_a_serving_process_that_dies_before_its_sign_of_life_is_replaced(three):
    with running_server("--workers", "2", only="mnist-3v5", **NO_WORKERS) as (_, process):
        silent, other = serving_processes(process.pid)
        os.kill(silent, signal.SIGSTOP)
        time.sleep(2)  # it is asked every half second: the answer is waited for now
        os.kill(other, signal.SIGKILL)
        os.kill(silent, signal.SIGKILL)
        until(lambda: len(set(serving_processes(process.pid)) - {silent, other}) == 2, 60)


@pytest.mark.slow
def test_a_serving_process_that_hangs_is_replaced_within_a_minute_while_the_other_answers(three):
    with running_server("--workers", "2", only="mnist-3v5", **NO_WORKERS) as (client, process):
        hung, other = serving_processes(process.pid)
        os.kill(hung, signal.SIGSTOP)
        with another(client) as anew:
            until(lambda: anew.post("/v1/predict", json={"images": [three]}).status_code == 200, 10)
        until(lambda: hung not in serving_processes(process.pid), 60)
        until(lambda: len(serving_processes(process.pid)) == 2, 60)
        assert other in serving_processes(process.pid)


def test_sigterm_turns_readiness_off_and_ends_what_is_in_progress(observed):
    assert observed.draining == (503, 200, 200)
    assert observed.exit_code == 0


@pytest.mark.slow
def test_the_first_answer_comes_soon_an_attack_at_sigterm_gets_its_own_and_no_process_is_left(three):
    started = time.monotonic()
    with running_server(only="mnist-3v5", WHITEBOX_ATTACK_TIMEOUT_SECONDS="3") as (client, process):
        assert client.post("/v1/predict", json={"images": [three]}).status_code == 200
        assert time.monotonic() - started < 180  # a hang would show; the 3 s are measured in benchmarks/
        fast = {"images": [three], "attack": "fgsm", "epsilon": 0.1}
        while client.post("/v1/attack", json=fast).status_code != 200:
            time.sleep(0.2)
        workers = worker_ids(process.pid)
        assert len(workers) == 2
        answers = []
        slow = {**fast, "attack": "square", "epsilon": 0.001, "steps": 100_000}
        asking = threading.Thread(target=lambda: answers.append(client.post("/v1/attack", json=slow)))
        asking.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert answers[0].status_code == 200
        assert answers[0].json()["results"][0]["stopped_by"] == "deadline"
        assert process.wait(timeout=15) == 0
        assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


@pytest.mark.slow
def test_settings_end_a_certificate_that_takes_too_long_with_what_is_proved_by_then(digits):
    images = digits[0][::16].tolist()
    with running_server(only="mnist-3v5", WHITEBOX_CERTIFY_TIMEOUT_SECONDS="1") as (client, _):

        def is_cut_short() -> bool:
            answer = client.post("/v1/certify", json={"images": images, "epsilon": 0.3})
            # 503, 504: no worker is there yet, or a busy machine took the second for reading.
            assert answer.status_code in (200, 503, 504)
            verdicts = [result["verdict"] for result in answer.json().get("results", ())]
            return len(verdicts) == len(images) and "unknown" in verdicts

        until(is_cut_short, 120)


@pytest.mark.slow  # a clock ends it
def test_a_client_that_leaves_is_no_error_and_what_does_not_end_in_time_is_told_so(tmp_path, three):
    log = tmp_path / "log"
    settings = {"WHITEBOX_CERTIFY_WORKERS": "0", "WHITEBOX_SHUTDOWN_SECONDS": "1"}
    with running_server(log=log, only="mnist-3v5", **settings) as (client, process):
        slow = {"images": [three], "attack": "square", "epsilon": 0.001, "steps": 100_000}
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/attack", json=slow, timeout=0.5)
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as leaving:
            leaving.sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            )
            leaving.sendall(b"Content-Length: 5000\r\n\r\n{")
        time.sleep(0.5)
        assert metric(client, "whitebox_requests_total", status="499") == 2
        assert '"level":"error"' not in log.read_text()

        answers = []
        asking = threading.Thread(target=lambda: answers.append(client.post("/v1/attack", json=slow)))
        asking.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert answers[0].status_code == 503
        assert answers[0].json()["type"] == "urn:whitebox:problem:service-stopping"
        assert process.wait(timeout=15) == 0
    assert "Traceback" not in log.read_text()


def whitebox(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [WHITEBOX, *arguments], env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip


@pytest.fixture
def check(monkeypatch) -> Callable[..., Result]:
    """Runs `whitebox serve --check`, or another command, in this process."""
    monkeypatch.chdir(ROOT)

    def check(*arguments: str, command: str = "serve", **environment: str) -> Result:
        options = ("--check", *arguments) if command == "serve" else arguments
        return CliRunner().invoke(app, [command, *options], env=environment, catch_exceptions=False)

    return check


@pytest.mark.parametrize(
    ("command", "variable", "complaint"),
    [
        (("serve",), "WHITEBOX_ATTCK_WORKERS", "did you mean WHITEBOX_ATTACK_WORKERS?"),
        (("predict", "examples/three.png"), "WHITEBOX_DATADIR", "did you mean WHITEBOX_DATA_DIR?"),
        (("serve",), "whitebox_prot", "did you mean WHITEBOX_PORT?"),
        (("serve",), "WHITEBOX_XYZZY", "docs/settings.md lists all."),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_that_is(
    check, command, variable, complaint
):
    failed = check(*command[1:], command=command[0], **{variable: "0"})
    assert failed.exit_code == 1
    assert failed.stderr == f"{variable} is not a setting; {complaint}\n"


def test_the_table_of_settings_has_each_with_its_default():
    table = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `WHITEBOX_(\w+)` \| (.*?) \|", table, re.MULTILINE))
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        shown = rows[name.upper()].strip("`")
        if field.default in (None, ()):
            assert shown in ("none", "a temporary one")
        elif name != "models_dir":
            expected = str(field.default).lower() if isinstance(field.default, bool) else field.default
            assert shown == (f"{expected:g}" if isinstance(expected, float) else str(expected))


def test_variables_of_training_and_of_kubernetes_are_no_mistake(check, tmp_path):
    kubernetes = {
        "WHITEBOX_PORT": "tcp://10.96.0.7:80",
        "WHITEBOX_PORT_80_TCP": "tcp://10.96.0.7:80",
        "WHITEBOX_PORT_80_TCP_ADDR": "10.96.0.7",
        "WHITEBOX_SERVICE_PORT_HTTP": "80",
        "WHITEBOX_SERVING_SERVICE_HOST": "10.96.0.8",
        "WHITEBOX_SERVING_PORT": "tcp://10.96.0.8:80",
    }
    assert check(WHITEBOX_DATA_DIR=str(tmp_path), **kubernetes).exit_code == 0


def test_uvicorn_puts_no_access_lines_together_that_nothing_writes():
    program = """
import logging
from service.telemetry.logs import set_up_logging
set_up_logging("debug", "json")
print(logging.getLogger("uvicorn.access").hasHandlers())  # what uvicorn asks before it does
"""
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "False\n"


def test_host_port_and_log_level_are_settings_that_options_override(observed):
    # An info line, on the option's port.
    assert f"listening on http://127.0.0.1:{observed.port}" in observed.log
    failed = whitebox("serve", WHITEBOX_HOST="nowhere.invalid")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Cannot listen on nowhere.invalid, port 8000: ")


@pytest.mark.parametrize(
    ("options", "environment", "complaint"),
    [
        (["--log-level", "loud"], {}, "'loud' is not one of"),
        ([], {"WHITEBOX_LOG_LEVEL": "loud"}, "WHITEBOX_LOG_LEVEL: Input should be 'debug', 'info', "),
        ([], {"WHITEBOX_WORKERS": "0"}, "WHITEBOX_WORKERS: Input should be greater than"),
    ],
)
def test_a_value_that_does_not_exist_is_a_line_and_no_traceback(check, options, environment, complaint):
    failed = check(*options, **environment)
    assert failed.exit_code in (1, 2)
    assert complaint in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_extra_that_is_missing_is_named(tmp_path):
    environment = {"PYTHONPATH": without_module("opentelemetry.sdk", tmp_path)}
    failed = whitebox("serve", "--check", WHITEBOX_OTLP_ENDPOINT="http://127.0.0.1:4318", **environment)
    assert failed.returncode == 1
    assert "[otel]" in failed.stderr


def test_on_a_terminal_people_read_where_it_listens_and_how_to_try_it():
    terminal, side_of_server = os.openpty()
    models = {"WHITEBOX_DEFAULT_MODEL": "mnist-10", **NO_WORKERS}
    with running_server("--log-level", "info", stderr=side_of_server, only="mnist-10", **models) as (
        client,
        _,
    ):
        url = str(client.base_url).rstrip("/")
        shown = b""
        while not (b"try: " in shown and shown.endswith(b"\n")):
            shown += os.read(terminal, 65_536)
    os.close(side_of_server)
    os.close(terminal)
    *loaded, ready, listening = shown.decode().splitlines()
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d info    loaded \S+ version \d+", line) for line in loaded)
    assert re.fullmatch(r"\d\d:\d\d:\d\d info    ready: .*mnist-10/5.*", ready)
    assert f"info    listening on {url}; " in listening
    command = listening.rpartition("try: ")[2]
    assert shlex.split(command)[-1] == f"{url}/v1/predict"
    assert Path(ROOT / shlex.split(command)[-2].removeprefix("@")).is_file()


def test_check_verifies_without_serving(check, tmp_path):
    fine = check()
    assert fine.exit_code == 0
    assert "mnist-3v5/6 answers" in fine.stdout
    assert "open to everybody" in " ".join(fine.stdout.split())
    for variable, value, expected in (
        ("WHITEBOX_MODELS_DIR", str(tmp_path), "holds no model package"),
        ("WHITEBOX_MAX_IMAGES", "many", "WHITEBOX_MAX_IMAGES"),
        ("WHITEBOX_DEFAULT_MODEL", "mnist-99", "WHITEBOX_DEFAULT_MODEL"),
        ("WHITEBOX_API_KEY_FILE", str(tmp_path / "none"), "WHITEBOX_API_KEY_FILE"),
    ):
        failed = check(**{variable: value})
        assert failed.exit_code == 1
        assert expected in failed.stderr
        assert "Traceback" not in failed.stderr


def test_safe_headers_and_no_server_name(client, three):
    answer = client.post("/v1/predict", json={"images": [three]})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Server" not in answer.headers


def test_traces_reach_a_collector_under_the_clients_trace(observed):
    spans = {span.name: span for span in observed.spans if span.trace_id.hex() == TRACE}
    request = spans["POST /v1/predict"]
    assert request.parent_span_id.hex() == PARENT
    assert {"read", "parse", "infer", "answer"} <= set(spans)
    assert spans["infer"].parent_span_id == request.span_id
    attributes = {one.key: one.value for one in request.attributes}
    assert attributes["http.response.status_code"].int_value == 200


def test_a_port_in_use_is_one_line(client):
    port = client.base_url.port
    ended = whitebox("serve", "--port", str(port))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()  # and none that a model was loaded
    told = f"Cannot listen on 127.0.0.1, port {port}: Address already in use. Set --host and --port"
    assert line.startswith(told)
    with socket.create_connection(("127.0.0.1", port)):
        pass


def test_a_buffered_histogram_counts_what_a_plain_one_does():
    registry = CollectorRegistry()
    together, one_by_one = (
        Histogram(name, "", buckets=(0.1, 1.0, 5.0), registry=registry) for name in ("together", "single")
    )
    buffer = BufferedHistogram(together)
    for value in (0.05, 0.1, 0.1000001, 1.0, 3.0, 5.0, 7.0, 0.0):
        buffer.observe(value)
        one_by_one.observe(value)
    buffer.flush()
    buffer.flush()  # nothing twice
    found = {
        metric.name: [(sample.name.removeprefix(metric.name), sample.labels, sample.value)
                      for sample in metric.samples if not sample.name.endswith("_created")]
        for metric in registry.collect()
    }  # fmt: skip
    assert found["together"] == found["single"]
    assert [value for _, _, value in found["together"]][:4] == [3, 5, 7, 8]
