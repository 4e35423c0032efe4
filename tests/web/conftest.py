"""The page in Debian's Chromium, against a real server. Screenshots go to build/screenshots/."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from running import ROOT

try:
    from playwright import sync_api
except ImportError:
    sync_api = None

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SCREENSHOTS = ROOT / "build" / "screenshots"

Open = Callable[..., "sync_api.Page"]


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None or sync_api is None:
                missing = (
                    "chromium: apt-get install chromium" if sync_api else "playwright: make test installs it"
                )
                item.add_marker(pytest.mark.skip(reason=f"there is no {missing}"))


# Not for the whole session: Playwright keeps an event loop running, and other tests run their own.
@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, client) -> Iterator[Open]:
    """Opens the page at a width, in a theme; nothing may go wrong or come from elsewhere."""
    contexts, complaints = [], []

    def open_page(
        path: str = "/", *, width: int = 1280, theme: str = "light", server: httpx.Client = client,
        expected: tuple[str, ...] = (),
    ) -> "sync_api.Page":  # fmt: skip
        origin = str(server.base_url).rstrip("/")
        context = browser.new_context(
            base_url=origin,
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)

        def complain(kind: str, text: str) -> None:
            if not any(each in text for each in expected):
                complaints.append(f"{kind}: {text}")

        page.on("console", lambda each: each.type in ("error", "warning") and complain("console", each.text))
        page.on("pageerror", lambda error: complain("error", str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((origin + "/", "data:", "blob:"))
                or complain("another origin", request.url)
            ),
        )
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def screenshot(request) -> Callable[["sync_api.Page", str], None]:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def take(page: "sync_api.Page", name: str) -> None:
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    return take
