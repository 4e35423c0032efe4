"""The documentation: every Python example of docs/ runs, and the site is built without a broken link."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from photos import photograph
from running import ROOT, sample_digits
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from documentation.links import faults
from documentation.notebook import NOTEBOOK, SOURCE, executed

DOCS = ROOT / "docs"
# What the examples of a page write. Those of these pages run with what they need:
# api.md with a server in test_readme.py, plugins.md as examples/plugin.py in whitebox/test_plugins.py,
# tutorial.md with its images in whitebox/test_own_images.py.
WRITTEN = {
    "docs/evaluation.md": ["mine.json"],
    "docs/library.md": ["attack.png", "explanation.pdf", "explanation.svg"],
    "docs/preprocessing.md": [],
    "docs/semantic-features.md": ["semantic-features.svg"],
    "docs/training.md": ["runs/small-0/network.safetensors"],
}
ELSEWHERE = {"docs/api.md", "docs/plugins.md", "docs/tutorial.md"}


def pages_with_python() -> set[str]:
    return {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if "```python" in page.read_text()}


def test_no_page_with_an_example_is_forgotten():
    assert pages_with_python() == WRITTEN.keys() | ELSEWHERE


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A directory to run in, with the examples and a photograph."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "photo.jpg").write_bytes(photograph(sample_digits()[0][0] / 255, "shadow", seed=7))
    return tmp_path


@pytest.mark.parametrize("page", sorted(WRITTEN))
def test_every_python_example_runs(page, place):
    document = Sybil([PythonCodeBlockParser(), SkipParser()]).parse(ROOT / page)
    for example in document.examples():
        example.evaluate()
    assert all((place / name).exists() for name in WRITTEN[page])


@pytest.mark.slow
def test_the_site_is_built_without_a_broken_link_and_loads_nothing_from_elsewhere():
    build = [sys.executable, "-m", "documentation"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / "build" / "site"
    assert (site / "index.html").exists()
    assert "adversarial" in (site / "reference" / "whitebox" / "index.html").read_text()
    assert "POST /v1/certify" in (site / "reference" / "rest" / "index.html").read_text()
    assert "whitebox certify" in (site / "reference" / "command-line" / "index.html").read_text()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('<a href="nowhere/">', "nowhere/ leads nowhere"),
        ('<a href="#missing">', "#missing leads nowhere"),
        ('<img src="missing.png">', "missing.png leads nowhere"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/f.css">', "loads //fonts.example/f.css"),
    ],
)
def test_a_broken_link_and_a_file_from_elsewhere_are_found(content, fault, tmp_path):
    (tmp_path / "index.html").write_text(f'<h1 id="here"></h1><a href="#here"></a>{content}')
    assert faults(tmp_path) == [f"index.html: {fault}"]


@pytest.mark.slow
def test_the_notebook_is_its_source_and_runs():
    shipped, now = nbformat.read(NOTEBOOK, as_version=4), executed(SOURCE)
    assert [(each.cell_type, each.source) for each in shipped.cells] == [
        (each.cell_type, each.source) for each in now.cells
    ]
    assert [len(each.get("outputs", ())) for each in shipped.cells] == [
        len(each.get("outputs", ())) for each in now.cells
    ]
    assert NOTEBOOK.stat().st_size < 100_000
