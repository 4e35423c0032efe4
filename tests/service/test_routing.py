"""The route classes: who parses a JSON body, and which bodies are taken for JSON."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from service.budgets import SMALL_BODY
from service.http import routing
from service.http.context import RequestContext
from service.http.problems import install_handlers
from service.http.protection.threads import Threads
from service.http.routing import AnyMediaTypeRoute, JSONRoute
from service.settings import Settings


class Text(BaseModel):
    text: str


def post(route_class: type[JSONRoute], content: bytes, **headers: str) -> httpx.Response:
    router = APIRouter(route_class=route_class)

    @router.post("/text")
    async def text(body: Text) -> int:
        return len(body.text)

    async def ask() -> httpx.Response:
        app = FastAPI()
        app.state.threads, app.state.budgets = Threads(1, 1), Settings()
        app.include_router(router)
        install_handlers(app)

        async def with_context(scope, receive, send) -> None:
            scope["context"] = RequestContext(scope["headers"])
            await app(scope, receive, send)

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(with_context), base_url="http://localhost"
        ) as client:
            return await client.post("/text", content=content, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize(("size", "in_thread"), [(10, False), (SMALL_BODY + 1, True)])
def test_a_large_body_is_parsed_off_the_event_loop(monkeypatch, size, in_thread):
    parsed_in = []

    def parse_values(body: bytes, _: Settings) -> Any:
        parsed_in.append(threading.current_thread())
        return {"text": "a" * size}

    monkeypatch.setattr(routing, "parse_values", parse_values)
    content = b'{"text":"' + b"a" * size + b'"}'
    answer = post(JSONRoute, content, **{"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (200, size)
    assert [thread is not threading.main_thread() for thread in parsed_in] == [in_thread]


@pytest.mark.parametrize("media_type", ["application/octet-stream", ""])
def test_protocols_take_json_without_its_media_type_and_other_routes_do_not(media_type):
    headers = {"Content-Type": media_type} if media_type else {}
    assert post(AnyMediaTypeRoute, b'{"text":"abc"}', **headers).json() == 3
    assert post(JSONRoute, b'{"text":"abc"}', **headers).status_code == 422


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "text/plain", "image/png"])
def test_no_route_takes_json_as_what_a_form_of_any_page_may_send(media_type):
    for route_class in (AnyMediaTypeRoute, JSONRoute):
        answer = post(route_class, b'{"text":"abc"}', **{"Content-Type": media_type})
        assert answer.status_code in (415, 422)


@pytest.mark.parametrize("content", [b"{text}", b'{"text": "\xff"}', b"", b"[" * 1000])
def test_what_is_no_json_is_told_as_such(content):
    problem = post(JSONRoute, content, **{"Content-Type": "application/json"}).json()
    assert problem["type"] == "urn:whitebox:problem:invalid-input"
    assert problem["errors"][0]["loc"] == []
    assert problem["errors"][0]["msg"].startswith("Invalid JSON: ")
