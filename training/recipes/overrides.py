"""Single values of a recipe changed by hand: `--set network.poses=8`, or a TOML file."""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from training.data import Dataset
from training.errors import TrainingError
from training.objectives import OBJECTIVES, Objective
from training.recipes.catalogue import find_recipe
from training.recipes.fitting import fit_to_data
from training.recipes.recipe import Recipe
from training.schedules import SCHEDULES, Schedule

# What the data says, not the recipe.
_OF_THE_DATA = ("labels", "height", "width")


def read_recipe_file(path: Path) -> tuple[Recipe, dict[str, Any]]:
    """Reads a TOML file: `base`, the recipe that it changes, and what it changes, in tables.

    Returns:
        The base recipe under the file's name, and the changes, as `overridden` takes them.

    Raises:
        TrainingError: It is not TOML, or names no recipe.
    """
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read as TOML: {error}.") from error
    if "base" not in content:
        raise TrainingError(f'{path} names no recipe to start from; write, for example, base = "paper".')
    base = find_recipe(content.pop("base"))
    return base, {"name": path.stem, "title": path.stem, **content}


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Reads what `--set` was given: PLACE=VALUE, the value as JSON has it, or else text.

    Raises:
        TrainingError: There is no equals sign.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        place, equals, text = setting.partition("=")
        if not equals:
            raise TrainingError(f"--set {setting}: write PLACE=VALUE, such as network.shapes_per_class=6.")
        *path, name = place.strip().split(".")
        table = changes
        for step in path:
            table = table.setdefault(step, {})
        try:
            table[name] = json.loads(text)
        except ValueError:
            table[name] = text.strip()
    return changes


class ChosenRecipe(NamedTuple):
    """A recipe before its data is known, and what is to be changed of it once it is fitted.

    Attributes:
        base: The recipe.
        changes: As `overridden` takes them.
        epochs: Instead of those that the base has, if any.
    """

    base: Recipe
    changes: Mapping[str, Any]
    epochs: int | None

    def fitted(self, dataset: Dataset, epsilon: float | None) -> Recipe:
        """Returns the recipe for a data set: fitted to it, then changed by hand."""
        height, width = dataset.images.shape[2:]
        recipe = fit_to_data(self.base, dataset.labels, (height, width), len(dataset), epsilon)
        recipe = overridden(recipe, self.changes)
        return recipe if self.epochs is None else recipe.shortened(self.epochs)


def chosen_recipe(name: str, file: Path | None, settings: list[str], epochs: int | None) -> ChosenRecipe:
    """Returns the recipe that a command line asks for: by name or by file, with the values it sets.

    Raises:
        TrainingError: There is no such recipe, or the file or a value cannot be read.
    """
    base, changes = (find_recipe(name), {}) if file is None else read_recipe_file(file)
    for place, value in parse_settings(settings).items():
        known = changes.get(place)
        changes[place] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    return ChosenRecipe(base, changes, epochs)


def overridden(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Returns a recipe with other values in the places that are named.

    Args:
        recipe: What is changed.
        changes: By name of the field; for `network`, `noise`, `schedule` and `objective` a mapping of their
            own fields, in the last two with `kind`, the name of another class, first.

    Raises:
        TrainingError: There is no such field, or the value is not of its kind.
    """
    changed: Recipe = _changed(recipe, changes, "")
    return changed


def _changed(data: Any, changes: Mapping[str, Any], place: str) -> Any:  # noqa: ANN401 (any data class)
    known = [field.name for field in fields(data) if not (place == "network." and field.name in _OF_THE_DATA)]
    values = {}
    for name, value in changes.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {place}{near[0]}?" if near else f"there are {', '.join(known)}"
            raise TrainingError(f"A recipe has no {place}{name}; {hint}.")
        values[name] = _value(getattr(data, name), value, f"{place}{name}")
    return replace(data, **values)


def _value(before: Any, value: Any, place: str) -> Any:  # noqa: ANN401
    if isinstance(before, (Objective, Schedule)) and isinstance(value, Mapping) and "kind" in value:
        return _of_kind(OBJECTIVES if isinstance(before, Objective) else SCHEDULES, value, place)
    if is_dataclass(before):
        if not isinstance(value, Mapping):
            raise TrainingError(f"{place} has parts; set them one by one, {place}.NAME=VALUE.")
        return _changed(before, value, f"{place}.")
    if isinstance(before, Mapping):
        if not isinstance(value, Mapping):
            raise TrainingError(f"{place} is a table of parameters, not {value!r}.")
        return {**before, **dict(_flat(value))}
    if isinstance(before, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(before):
        raise TrainingError(f"{place} is {before!r}, so it takes {_named(before)}, not {value!r}.")
    return value


def _of_kind(kinds: Mapping[str, Callable[..., Any]], value: Mapping[str, Any], place: str) -> Any:  # noqa: ANN401
    if value["kind"] not in kinds:
        raise TrainingError(
            f"{place} has no kind {value['kind']!r}; there are {', '.join(kinds)}; --plugin brings others."
        )
    try:
        return kinds[value["kind"]](**{key: each for key, each in value.items() if key != "kind"})
    except TypeError as error:
        raise TrainingError(f"{place}: {error}.") from error


def _flat(table: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of nested tables by names with dots, as parameters have them; lists as tuples."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", tuple(value) if isinstance(value, list) else value


def _named(value: object) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names.get(type(value), "another kind of value")
