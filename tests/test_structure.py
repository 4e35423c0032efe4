"""The source stays readable: short functions, short files, folders that can be taken in at a glance."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import ROOT

PACKAGES = ("evaluation", "model", "service", "training", "whitebox")
MOST_LINES_OF_A_FUNCTION = 40
MOST_LINES_OF_A_FILE = 300
MOST_FILES_IN_A_FOLDER = 12


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_longer_than_a_screen(package):
    long = {
        f"{named(path)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    }
    assert not long


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_longer_than_one_sitting(package):
    lines = {named(path): len(path.read_text().splitlines()) for path in sources(package)}
    assert lines
    assert not {path: count for path, count in lines.items() if count > MOST_LINES_OF_A_FILE}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_holds_more_than_a_dozen_files(package):
    files = [path.parent for path in sources(package)]
    assert not {
        named(folder): files.count(folder) for folder in files if files.count(folder) > MOST_FILES_IN_A_FOLDER
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_http_is_parsed_by_uvicorn_alone(package):
    imported = {
        named(path): name
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported_by(node)
        if name.partition(".")[0] in ("httptools", "h11")
    }
    assert not imported


def imported_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_the_shipped_packages_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "artifacts").rglob("*")) < 25 * 2**20
