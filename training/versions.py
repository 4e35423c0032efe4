"""The versions of everything that the numbers of a training or a measurement may depend on."""

import platform
from importlib.metadata import version


def code_versions() -> dict[str, str]:
    """Returns package names and Python with their versions."""
    packages = {name: version(name) for name in ("whitebox-serving", "torch", "numpy")}
    return {**packages, "python": platform.python_version()}
