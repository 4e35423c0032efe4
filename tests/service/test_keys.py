"""API keys: who may ask, how often, and what stays open."""

from collections.abc import Iterator

import httpx
import pytest
from running import NO_WORKERS, running_server

from service.errors import Unauthorized
from service.http.protection.auth import ApiKeys
from service.settings import Settings, SettingsError


@pytest.fixture(scope="module")
def locked(tmp_path_factory) -> Iterator[httpx.Client]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("# of the app\nthird-key\n")
    with running_server(
        only="mnist-3v5",
        WHITEBOX_API_KEYS="first-key, second-key, busy, calm",
        WHITEBOX_API_KEY_FILE=str(file),
        WHITEBOX_RATE_LIMIT="2",
        WHITEBOX_METRICS_NEED_KEY="true",
        **NO_WORKERS,
    ) as (client, _):
        yield client


@pytest.mark.parametrize("key", ["first-key", "second-key", "third-key"])
def test_every_key_opens_in_either_header(locked, three, key):
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert locked.post("/v1/predict", json={"images": [three]}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": "first-ke"}, {"X-API-Key": ""}, {"Authorization": "Basic first-key"},
     {"Authorization": "Bearer first-key, second-key"}, {"X-API-Key": "# of the app"}],
)  # fmt: skip
def test_no_other_key_opens_anything(locked, three, headers):
    calls = [
        locked.post("/v1/predict", json={"images": [three]}, headers=headers),
        locked.get("/v1/models", headers=headers),
        locked.get("/metrics", headers=headers),
        locked.post("/v2/repository/models/mnist-3v5/unload", headers=headers),
    ]
    assert [call.status_code for call in calls] == [401] * 4
    assert calls[0].json()["type"] == "urn:whitebox:problem:unauthorized"
    assert calls[0].headers["WWW-Authenticate"] == "Bearer"
    assert list(calls[3].json()) == ["error"]


def test_health_and_documentation_stay_open(locked):
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/",
        "/page/page.js",
        "/docs",
        "/redoc",
        "/openapi.json",
    ):
        assert locked.get(path).status_code == 200, path


def test_a_key_has_its_own_rate(locked, three):
    ask = {"json": {"images": [three]}}
    busy = [locked.post("/v1/predict", **ask, headers={"X-API-Key": "busy"}) for _ in range(30)]
    codes = [answer.status_code for answer in busy]
    assert codes[:4] == [200] * 4  # two seconds' worth at once
    refused = [answer for answer in busy if answer.status_code == 429]
    assert len(refused) > 15
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert refused[0].json()["type"] == "urn:whitebox:problem:rate-limited"
    assert locked.post("/v1/predict", **ask, headers={"X-API-Key": "calm"}).status_code == 200


def test_keys_appear_in_no_representation():
    settings = Settings(api_keys=("top-secret",))
    assert "top-secret" not in repr(settings)
    api_keys = ApiKeys.from_settings(settings)
    assert "top-secret" not in repr(vars(api_keys))
    api_keys.authenticate(b"top-secret")
    with pytest.raises(Unauthorized):
        api_keys.authenticate(b"top-secret ")


def test_an_empty_key_file_does_not_open_the_service(tmp_path):
    (tmp_path / "keys").write_text("\n# nobody\n")
    for file in (tmp_path / "keys", tmp_path / "missing"):
        with pytest.raises(SettingsError, match=r"key"):
            ApiKeys.from_settings(Settings(api_key_file=file))
