"""What is wrong with a built site: links that lead nowhere, and what is loaded from elsewhere."""

from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

# The attribute of an element that makes a browser load something.
_LOADED = {"audio": "src", "iframe": "src", "img": "src", "link": "href", "script": "src", "source": "src"}
_BASE = "https://site.invalid/"


def faults(site: Path) -> list[str]:
    """Returns a line for every link that leads nowhere and for all that is loaded from elsewhere."""
    pages = sorted(site.rglob("*.html"))
    return [f"{page.relative_to(site)}: {fault}" for page in pages for fault in _faults_of(page, site)]


class _Page(HTMLParser):
    """The anchors, links and loaded files of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if _LOADED.get(tag) in values and values.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(values[_LOADED[tag]])


@cache
def _read(page: Path) -> _Page:
    return _Page(page.read_text(encoding="utf-8"))


def _faults_of(page: Path, site: Path) -> Iterator[str]:
    # The error page is served in place of any page, so it names files from the site's root.
    own = _BASE if page.name == "404.html" else urljoin(_BASE, page.relative_to(site).as_posix())
    for link in _read(page).loaded:
        if urlsplit(link).scheme != "data" and not urljoin(own, link).startswith(_BASE):
            yield f"loads {link}"
    for link in _read(page).links + _read(page).loaded:
        target = urljoin(own, link)
        if target.startswith(_BASE) and not _exists(site, urlsplit(target)):
            yield f"{link} leads nowhere"


def _exists(site: Path, link: SplitResult) -> bool:
    target, anchor = site / unquote(link.path[1:]), unquote(link.fragment)
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return False
    return not anchor or target.suffix != ".html" or anchor in _read(target).anchors
