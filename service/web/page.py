"""GET /: the page, with its files under /page/; /docs and /redoc. Nothing is loaded from elsewhere.

What is served is built from `web/` by `make web` and committed (docs/decisions/0021).
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FILES = Path(__file__).resolve().parent / "files"
# Where the page's files are served; they hold no secrets and need no API key.
PREFIX = "/page/"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; {workers}base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_PAGE = _POLICY.format(styles="", workers="")
# Both viewers write styles of their own into the document, and ReDoc searches in a worker.
_VIEWER = _POLICY.format(styles=" 'unsafe-inline'", workers="worker-src blob:; ")
_LINKS = {"page": "/", "docs": "/docs", "openapi": "/openapi.json", "models": "/v1/models"}


class _Files(StaticFiles):
    """The built files; browsers keep them and ask with the ETag whether they are still right."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def _page(request: Request) -> Response:
    """Answers with the page, or with links for clients that ask for JSON."""
    accepted = request.headers.get("accept", "")
    if "application/json" in accepted and "text/html" not in accepted:
        return JSONResponse(_LINKS, headers={"Vary": "Accept"})
    return _document("index.html", _PAGE)


async def _docs(_: Request) -> Response:
    return _document("docs.html", _VIEWER)


async def _redoc(_: Request) -> Response:
    return _document("redoc.html", _VIEWER)


def _document(file: str, policy: str) -> Response:
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache", "Vary": "Accept"}
    return FileResponse(FILES / file, media_type="text/html", headers=headers)


ROUTES: list[BaseRoute] = [
    Route("/", _page),
    Route("/docs", _docs),
    Route("/redoc", _redoc),
    Mount(PREFIX.rstrip("/"), _Files(directory=FILES, check_dir=False)),
]
