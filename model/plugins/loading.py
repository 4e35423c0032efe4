"""Importing plugins: modules that add to registries as they are imported.

A plugin is named on the command line, by its module's name or its file's path, or belongs to an installed
distribution that has an entry point of the group `whitebox.plugins`.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

GROUP = "whitebox.plugins"

_importing: ContextVar[str | None] = ContextVar("importing", default=None)
_loaded: dict[str, None] = {}


class PluginError(Exception):
    """A plugin cannot be used; the message names the place and the remedy."""


def plugin_being_imported() -> str | None:
    """Returns the name of the plugin whose module is being imported, if one is."""
    return _importing.get()


def loaded_plugins() -> list[str]:
    """Returns what `load_plugin` was called with: what another process needs to know the same names."""
    return list(_loaded)


def load_plugin(reference: str) -> None:
    """Imports a plugin, unless it is imported already.

    Args:
        reference: Name of an installed module, or path of a Python file.

    Raises:
        PluginError: There is none, or it cannot be imported.
    """
    if not reference.endswith(".py"):
        if reference not in _loaded:
            with _imported_as(reference, "Mend it, or leave out --plugin."):
                _import_module(reference)
            _loaded[reference] = None
        return
    path = Path(reference).absolute()
    if str(path) not in _loaded:
        if not path.is_file():
            raise PluginError(f"There is no plugin {reference}: no such file.")
        with _imported_as(path.name, "Mend it, or leave out --plugin."):
            _import_file(path)
        _loaded[str(path)] = None


@cache
def load_installed_plugins() -> None:
    """Imports the plugins of installed distributions, once.

    Raises:
        PluginError: One cannot be imported.
    """
    for entry in entry_points(group=GROUP):
        remedy = f"Mend it, or uninstall it: pip uninstall {_distribution(entry)}"
        with _imported_as(entry.value, remedy):
            importlib.import_module(entry.module)


def _distribution(entry: EntryPoint) -> str:
    return entry.name if entry.dist is None else entry.dist.name


def _import_module(name: str) -> None:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # the package that it would be in
        found = None
    if found is None:
        raise PluginError(
            f"There is no module {name!r} to plug in: install it, or name its file, --plugin {name}.py."
        )
    importlib.import_module(name)


def _import_file(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"whitebox_plugin_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # data classes look for their module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise


@contextmanager
def _imported_as(name: str, remedy: str) -> Iterator[None]:
    """While the context lasts, what is added is the plugin's, and what goes wrong is told of it."""
    token = _importing.set(name)
    try:
        yield
    except PluginError:
        raise
    except Exception as error:
        place = _place(error)
        raise PluginError(
            f"The plugin {name} cannot be imported: {type(error).__name__} {place}: {error}. {remedy}"
        ) from error
    finally:
        _importing.reset(token)


def _place(error: Exception) -> str:
    """Names the line that an import failed at."""
    if isinstance(error, SyntaxError):
        return f"in {error.filename}, line {error.lineno}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"in {last.filename}, line {last.lineno}"
