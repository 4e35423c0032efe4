"""What commands print: results on standard output, progress and errors on standard error.

Every command prints lines and tables for people, or with --json one JSON document and nothing else.
"""

import codecs
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console, RenderableType
from rich.status import Status

from model.package import PackageError
from model.plugins import PluginError, load_plugin
from service.codecs.preprocessing import NotADigitError
from service.errors import Problem
from service.settings import SettingsError
from training.errors import MissingExtraError, TrainingError
from whitebox.asking.answer import UnknownLabelError
from whitebox.asking.remote_model import ServiceError
from whitebox.terminal.pictures import Told

_OUTPUT = Console()
_ERRORS = Console(stderr=True)
# Optional modules, and the extra of pyproject.toml that installs each.
_EXTRAS = {
    **dict.fromkeys(
        ("foolbox", "onnx", "onnxscript", "pyautoattack", "safetensors", "scipy", "torch"), "train"
    ),
    "matplotlib": "report",
    "mlxtend": "sample",
    "ray": "ray",
}

# Errors whose text tells a user what to set right.
_PLAIN = (
    TrainingError,
    PackageError,
    SettingsError,
    NotADigitError,
    PluginError,
    Problem,
    ServiceError,
    UnknownLabelError,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of lines and tables.")]


# The name of what is done with a character that the output's encoding lacks.
_NEAREST = "whitebox-nearest"


def _nearest(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join("-" if each == "\N{MINUS SIGN}" else "?" for each in lacking), error.end


codecs.register_error(_NEAREST, _nearest)


def say(line: str) -> None:
    """Prints a line of text as it is: never wrapped, and nothing in it taken for markup."""
    _OUTPUT.print(line, markup=False, highlight=False, soft_wrap=True)


def inform(*lines: str) -> None:
    """Prints what the user should know beside the result, to standard error."""
    for line in lines:
        _ERRORS.print(line, markup=False, highlight=False, soft_wrap=True)


def show(table: RenderableType) -> None:
    """Prints a table."""
    _OUTPUT.print(table)


def tell(told: Told) -> None:
    """Prints an answer in words, and its picture below."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=_NEAREST)
    for line in [*told.lines, ""]:
        say(line)
    _OUTPUT.print(told.picture)


def print_json(data: Any) -> None:  # noqa: ANN401 (whatever JSON holds)
    """Prints a JSON document, with colours on a terminal."""
    _OUTPUT.print_json(orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode())


def fail(message: str) -> NoReturn:
    """Prints a message as it is to standard error and ends the command with exit code 1."""
    _ERRORS.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def working(what: str) -> Status:
    """Shows on standard error that something is running, while the context lasts."""
    return _ERRORS.status(what)


@contextmanager
def errors_in_one_line(command: str, plugins: Iterable[str] | None = None) -> Iterator[None]:
    """Ends the command with one line for what the user can set right, missing extras included.

    The plugins that the command names are loaded before anything else.
    """
    try:
        for plugin in plugins or ():
            load_plugin(plugin)
        yield
    except _PLAIN as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in _EXTRAS:
            raise
        fail(str(MissingExtraError(f"whitebox {command}", module, _EXTRAS[module])))


@contextmanager
def resumable(advice: str) -> Iterator[None]:
    """Turns Ctrl-C into a line that says where the finished work is, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Interrupted. {advice}")
        raise typer.Exit(130) from None
