"""The source stays readable: short functions, short files, folders that can be taken in at a glance."""

import ast
import re
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


# The sources of data know what is usual for it, recipes what they were written for.
KNOW_THE_DATA = ("training/data/", "training/recipes/")


def ignorant() -> Iterator[Path]:
    return (path for path in sources(*PACKAGES) if not named(path).startswith(KNOW_THE_DATA))


def test_only_recipes_and_data_sources_know_the_size_of_mnists_images():
    found = [
        f"{named(path)}:{number}"
        for path in ignorant()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b28\b|784", line)
    ]
    assert not found


def test_only_recipes_and_data_sources_know_an_epsilon():
    found = [
        f"{named(path)}:{value.lineno}"
        for path in ignorant()
        for node in ast.walk(ast.parse(path.read_text()))
        for name, value in named_values(node)
        if re.search("epsilon|measured_at", name.lower())
        if isinstance(value, ast.Constant) and isinstance(value.value, float)
    ]
    assert not found


def named_values(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """Yields what is given to a name: in an assignment, as a default, in a call."""
    if isinstance(node, ast.Assign):
        yield from ((ast.unparse(target), node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign):
        yield ast.unparse(node.target), node.value
    elif isinstance(node, ast.keyword):
        yield node.arg or "", node.value
    elif isinstance(node, ast.arguments):
        arguments = [*node.posonlyargs, *node.args]
        yield from zip(
            (a.arg for a in arguments[len(arguments) - len(node.defaults) :]), node.defaults, strict=True
        )
        yield from zip((a.arg for a in node.kwonlyargs), node.kw_defaults, strict=True)
