"""What there is of one kind by its name: the project's own, and what plugins add."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import isabstract
from typing import Any, Generic, TypeVar

from model.plugins.loading import PluginError, load_installed_plugins, plugin_being_imported

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Values of one kind by name, in the order in which they were added.

    The plugins of installed distributions are imported when a name is not known without them, or all names
    are asked for.

    Args:
        kind: What a value is called in messages, "recipe".
        wanted: What a value has to be in words, "a training.recipes.Recipe".
        accepts: Tells whether a value is that.
        name_of: Returns the name of a value.
        own: What comes with the project, unless `add_own` adds it.
    """

    def __init__(
        self,
        kind: str,
        wanted: str,
        accepts: Callable[[object], bool],
        name_of: Callable[[T], str],
        own: Iterable[T] = (),
    ) -> None:
        self._kind, self._wanted, self._accepts, self._name_of = kind, wanted, accepts, name_of
        self._values: dict[str, T] = {}
        self._sources: dict[str, str | None] = {}  # of what is not the project's own: which plugin, if one
        for value in own:
            self.add_own(value)

    def add_own(self, value: T) -> T:
        """Adds what comes with the project, as `add` does."""
        self._values[self._name_of(value)] = value
        return value

    def add(self, value: T) -> T:
        """Adds a value under its own name and returns it: classes are added by `@REGISTRY.add`.

        Raises:
            PluginError: It is of another kind, or the name is taken.
        """
        plugin = plugin_being_imported()
        who = "" if plugin is None else f"The plugin {plugin}: "
        if not self._accepts(value):
            raise PluginError(f"{who}{value!r} is no {self._kind}: it has to be {self._wanted}.")
        name = self._name_of(value)
        if name in self._values:
            owner = self._sources.get(name, "the project itself") or "outside any plugin"
            raise PluginError(f"{who}the {self._kind} {name!r} is there already, from {owner}; rename yours.")
        self._values[name], self._sources[name] = value, plugin
        return value

    def plugin_of(self, name: str) -> str | None:
        """Returns the plugin that added a name; None for the project's own and for unknown names."""
        return self._sources.get(name)

    def added(self) -> dict[str, T]:
        """Returns the values that are not the project's own."""
        return {name: value for name, value in self.items() if name in self._sources}

    def __getitem__(self, name: str) -> T:
        if name not in self._values:
            load_installed_plugins()
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        load_installed_plugins()
        return iter(self._values)

    def __len__(self) -> int:
        load_installed_plugins()
        return len(self._values)


def registry_of_classes(kind: str, base: type[Any]) -> Registry[type[Any]]:
    """Returns a registry of the classes that make a base whole, by their own names."""
    return Registry(
        kind,
        f"a subclass of {base.__module__}.{base.__qualname__} that has all its methods",
        lambda value: isinstance(value, type) and issubclass(value, base) and not isabstract(value),
        lambda found: found.__name__,
    )
