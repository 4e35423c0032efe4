"""The page's documents and files: served by the service itself, under a strict policy, open without a key."""

import gzip
import re

import pytest
from running import ROOT

FILES = ROOT / "service" / "web" / "files"


def policy_of(answer) -> dict[str, str]:
    directives = (
        part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";")
    )
    return {name: sources for name, _, sources in directives}


def test_root_is_the_page_and_for_programs_links(client):
    page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.headers["Content-Type"].startswith("text/html")
    links = client.get("/", headers={"Accept": "application/json"}).json()
    assert {client.get(link, headers={"Accept": "*/*"}).status_code for link in links.values()} == {200}
    assert {"page", "docs", "models"} <= set(links)


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_documents_load_nothing_from_elsewhere_and_no_inline_script(client, path):
    answer = client.get(path)
    policy = policy_of(answer)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not re.search(r"<script(?![^>]*\ssrc=)", answer.text)
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', answer.text)
    assert loaded
    assert all(client.get(link).status_code == 200 for link in loaded)


def test_page_allows_no_inline_style(client):
    assert policy_of(client.get("/"))["style-src"] == "'self'"


def test_files_are_kept_by_browsers_until_they_change(client):
    answer = client.get("/page/page.js")
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get("/page/page.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_unknown_file_is_a_problem_and_nothing_outside_is_served(client):
    for path in ("/page/none.js", "/page/../api/page.py", "/page/%2e%2e/api/page.py"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:whitebox:problem:not-found"


def test_page_takes_120_kilobytes_at_most():
    files = [path for path in FILES.rglob("*") if path.is_file() and "vendor" not in path.parts]
    first = [path for path in files if path.suffix in (".js", ".css", ".html", ".woff2", ".svg", ".png")]
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in first) <= 120_000
