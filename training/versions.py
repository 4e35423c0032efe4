"""The versions of everything that the numbers of a training or a measurement may depend on."""

import os
import platform
from importlib.metadata import version


def code_versions() -> dict[str, str]:
    """Returns package names and Python with their versions."""
    packages = {name: version(name) for name in ("whitebox-serving", "torch", "numpy")}
    return {**packages, "python": platform.python_version()}


def machine() -> dict[str, str | int | None]:
    """Returns what the times of a measurement depend on."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
