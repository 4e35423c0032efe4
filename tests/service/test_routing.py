"""The route classes: who parses a JSON body, and which bodies are taken for JSON."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from service.http import routing
from service.http.body import SMALL_BODY
from service.http.problems import install_handlers
from service.http.routing import AnyMediaTypeRoute, JSONRoute


class Text(BaseModel):
    text: str


def post(route_class: type[JSONRoute], content: bytes, **headers: str) -> httpx.Response:
    router = APIRouter(route_class=route_class)

    @router.post("/text")
    async def text(body: Text) -> int:
        return len(body.text)

    async def ask() -> httpx.Response:
        app = FastAPI()
        app.include_router(router)
        install_handlers(app)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.post("/text", content=content, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize(("size", "in_thread"), [(10, False), (SMALL_BODY + 1, True)])
def test_a_large_body_is_parsed_off_the_event_loop(monkeypatch, size, in_thread):
    parsed_in = []

    def from_json(body: bytes) -> Any:
        parsed_in.append(threading.current_thread())
        return {"text": "a" * size}

    monkeypatch.setattr(routing, "from_json", from_json)
    content = b'{"text":"' + b"a" * size + b'"}'
    answer = post(JSONRoute, content, **{"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (200, size)
    assert [thread is not threading.main_thread() for thread in parsed_in] == [in_thread]


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "application/octet-stream", ""])
def test_protocols_take_json_under_any_media_type_and_other_routes_do_not(media_type):
    headers = {"Content-Type": media_type} if media_type else {}
    assert post(AnyMediaTypeRoute, b'{"text":"abc"}', **headers).json() == 3
    assert post(JSONRoute, b'{"text":"abc"}', **headers).status_code == 422


@pytest.mark.parametrize("content", [b"{text}", b'{"text": "\xff"}', b"", b"[" * 1000])
def test_what_is_no_json_is_told_as_such(content):
    problem = post(JSONRoute, content, **{"Content-Type": "application/json"}).json()
    assert problem["type"] == "urn:whitebox:problem:invalid-input"
    assert problem["errors"][0]["loc"] == []
    assert problem["errors"][0]["msg"].startswith("Invalid JSON: ")
