"""What `whitebox train`, `evaluate`, `certify`, `export` and `report` tell the user in one line."""

import sys


class TrainingError(Exception):
    """Something that the user can set right; the message names the place and the remedy."""


class MissingExtraError(TrainingError):
    """An optional dependency is not installed; the message holds the command that installs it."""

    def __init__(self, what: str, module: str, extra: str) -> None:
        super().__init__(
            f"{what} needs {module}, which is not installed. Install it with: "
            f"{sys.executable} -m pip install 'whitebox-serving[{extra}]'"
        )
