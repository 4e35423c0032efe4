"""What a web page of another site, or a client without the right key, may not do."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
from running import NO_WORKERS, running_server, whole_request

from service.errors import UnknownHost
from service.http.protection.auth import ApiKeys
from service.http.protection.strangers import Strangers
from service.settings import Settings, SettingsError, load_settings
from service.telemetry.logs import TextFormatter

UNLOAD = "/v2/repository/models/mnist-3v5/unload"


ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[tuple[httpx.Client, Path]]:
    """A service with two keys that the pages of one other site may ask; and its log."""
    log = tmp_path_factory.mktemp("guarded") / "log"
    settings = {"WHITEBOX_API_KEYS": "user,admin:chief", "WHITEBOX_CORS_ORIGINS": ORIGIN}
    with running_server(log=log, only="mnist-3v5", **settings, **NO_WORKERS) as (client, _):
        yield client, log


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_pages_of_other_sites_change_and_ask_nothing(client, three, headers):
    calls = [
        client.post(UNLOAD, headers={**headers, "Content-Type": "text/plain"}),
        client.post(UNLOAD, headers=headers),
        client.post("/v1/predict", json={"images": [three]}, headers=headers),
    ]
    assert [call.status_code for call in calls] == [403] * 3
    assert calls[2].json()["type"] == "urn:whitebox:problem:cross-site"
    assert client.post("/v1/predict", json={"images": [three]}).status_code == 200


def test_own_pages_links_and_other_clients_are_answered(client, three):
    own = str(client.base_url).rstrip("/")
    for headers in ({}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert client.post("/v1/predict", json={"images": [three]}, headers=headers).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/docs", headers=link).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil", "", "10.0.0.1"]
)
def test_a_name_that_points_here_by_somebody_elses_will_is_not_answered(client, host):
    answer = client.get("/v1/models", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["type"] == "urn:whitebox:problem:unknown-host"
    assert client.get("/v2/health/live", headers={"Host": host}).status_code == 200  # probes ask by address


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1:1", "[::1]:8000"])
def test_loopback_names_are_answered_on_any_port(client, host):
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


def test_hosts_are_those_of_the_settings_and_elsewhere_than_on_loopback_all():
    given = Strangers.from_settings(Settings(host="0.0.0.0", allowed_hosts="a.example,*.b.example"))
    everywhere = Strangers.from_settings(Settings(host="0.0.0.0"))
    for host, known in (
        (b"a.example:80", True),
        (b"x.b.example", True),
        (b"b.example", False),
        (b"c", False),
    ):
        everywhere.refuse({b"host": host}, "GET", "/")
        with nullcontext() if known else pytest.raises(UnknownHost):
            given.refuse({b"host": host}, "GET", "/")


def test_pages_that_are_allowed_get_answers_that_browsers_show_them(guarded, three):
    client, _ = guarded
    key = {"X-API-Key": "user"}
    asks = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    assert client.options("/v1/predict", headers=asks).status_code == 200
    answer = client.post("/v1/predict", json={"images": [three]}, headers={"Origin": ORIGIN, **key})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    other = {"Origin": "https://other.example", **key}
    assert client.post("/v1/predict", json={}, headers=other).status_code == 403


def test_only_an_administrators_key_controls_models(guarded, three):
    client, _ = guarded
    user, chief = {"X-API-Key": "user"}, {"Authorization": "Bearer chief"}
    for key in (user, chief):
        assert client.post("/v1/predict", json={"images": [three]}, headers=key).status_code == 200
    assert client.post(UNLOAD, headers=user).status_code == 403
    assert client.post(UNLOAD).status_code == 401
    assert client.post(UNLOAD, headers=chief).status_code == 200
    assert client.get("/v2/health/ready").status_code == 503  # the default model is gone
    assert client.post(UNLOAD.replace("unload", "load"), headers=chief).status_code == 200
    assert client.get("/v2/health/ready").status_code == 200


def test_without_keys_nobody_controls_models_unless_that_is_switched_on(without_workers):
    assert without_workers.post(UNLOAD, headers={"X-API-Key": "chief"}).status_code == 403


def test_keys_that_are_none_do_not_open_the_service(monkeypatch):
    for value in (",", " , ", ",,"):
        monkeypatch.setenv("WHITEBOX_API_KEYS", value)
        with pytest.raises(SettingsError, match="WHITEBOX_API_KEYS"):
            load_settings()
    with pytest.raises(SettingsError, match="empty key"):
        ApiKeys.from_settings(Settings(api_keys="admin:"))


@pytest.mark.parametrize(
    "name", ["Content-Type", "X-Request-ID", "X-Request-Timeout-Ms", "Authorization", "X-API-Key"]
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v2/models/mnist-3v5/infer"])
def test_a_header_that_has_one_value_is_not_given_two(client, name, path):
    body = json.dumps({"images": [[[0.5] * 14 + [0.0] * 14] * 28]}).encode()
    twice = b"".join(b"%b: %b\r\n" % (name.encode(), value) for value in (b"application/json", b"text/plain"))
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
        head = twice + b"Connection: close\r\n"
        connection.sendall(whole_request(body, head, b"POST %b HTTP/1.1" % path.encode()))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] in (b"400", b"422")
    assert b"given more than once" in answer


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v1/models/mnist-3v5:predict", UNLOAD])
def test_a_body_that_says_it_is_compressed_is_refused_everywhere(client, three, path):
    answer = client.post(path, json={"images": [three]}, headers={"Content-Encoding": "gzip"})
    assert answer.status_code in (400, 415)
    assert "Content-Encoding" in answer.text


@pytest.mark.parametrize("name", ["Inference-Header-Content-Length", "X-Request-Timeout-Ms"])
def test_numbers_of_thousands_of_digits_in_headers_are_refused(client, name):
    answer = client.post("/v2/models/mnist-3v5/infer", json={}, headers={name: "9" * 5000})
    assert answer.status_code == 400


def test_nobodys_input_begins_a_line_of_the_log():
    fields = {"path": "/a\n03:00:00 error   forged\x1b[2J"}
    record = logging.LogRecord("service", logging.INFO, "", 0, "request \r\n%s", ("x",), None)
    record.fields = fields
    line = TextFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_a_log_line_of_a_connection_has_no_other_requests_id(guarded):
    client, log = guarded
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
        head = b"X-API-Key: user\r\nX-Request-ID: mine-7\r\n"
        connection.sendall(whole_request(b"{" + b" " * 200_000 + b"}", head))
        connection.recv(65536)
        connection.sendall(b"no HTTP\r\n\r\n")
        connection.recv(65536)
    while "Invalid HTTP" not in log.read_text():
        time.sleep(0.05)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (invalid,) = [line for line in lines if "Invalid HTTP" in line["message"]]
    assert invalid["request_id"] == "-"
