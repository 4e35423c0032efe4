"""What is installed is locked: every package with hashes, the same version wherever it is."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from running import ROOT

LOCKS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "serve": ("otel",),
    "serve-full": ("otel", "attack"),
    "train": ("train", "attack"),
    "dev": ("dev", "docs", "report", "train", "attack", "otel"),
}


def locked(name: str) -> dict[str, set[str]]:
    """Returns the versions of each package in a lock; some have one for older Pythons and one for newer."""
    versions: dict[str, set[str]] = {}
    for package, version in re.findall(
        r"^([\w.-]+)==([\w.]+)", (LOCKS / f"{name}.txt").read_text(), re.MULTILINE
    ):
        versions.setdefault(canonicalize_name(package), set()).add(version)
    return versions


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_holds_what_the_project_asks_for(name):
    asked = PROJECT["dependencies"] + [
        one for extra in EXTRAS[name] for one in PROJECT["optional-dependencies"][extra]
    ]
    versions = locked(name)
    for requirement in map(Requirement, asked):
        if requirement.name not in ("torch", "whitebox-serving"):
            found = versions[canonicalize_name(requirement.name)]
            assert all(version in requirement.specifier for version in found), requirement


@pytest.mark.parametrize("name", EXTRAS)
def test_every_locked_package_has_hashes_and_none_is_for_cuda(name):
    packages = re.split(r"\n(?=\S)", (LOCKS / f"{name}.txt").read_text().partition("\n#")[2])
    for package in packages[1:]:
        if not package.startswith("#"):
            assert "--hash=sha256:" in package, package
    assert not [package for package in locked(name) if re.match(r"(torch|triton)$|nvidia|cuda", package)]


@pytest.mark.parametrize("name", ["serve", "serve-full", "train"])
def test_what_is_shipped_is_what_is_tested(name):
    tested = locked("dev")
    assert {package: tested[package] for package in locked(name)} == locked(name)


def test_torch_is_the_one_of_the_project():
    (asked,) = [one for one in PROJECT["optional-dependencies"]["attack"] if one.startswith("torch")]
    assert asked in (LOCKS / "torch.txt").read_text().splitlines()


def test_no_lock_names_an_index():
    for file in LOCKS.iterdir():
        assert not re.search(r"://|--(extra-)?index-url|--find-links", file.read_text()), file
