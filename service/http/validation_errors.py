"""What pydantic finds wrong with a request, as a problem that names each place."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic_core import ErrorDetails

from service.errors import InvalidInput, PlacedError

_MOST_ERRORS_TOLD = 20


def told(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Returns those of pydantic's findings that are told."""
    return list(islice((e for e in errors if not _of_other_branch(e)), _MOST_ERRORS_TOLD))


def invalid_input(errors: Sequence[ErrorDetails]) -> InvalidInput:
    """Turns pydantic's findings into a problem that names each place, of twenty at most."""
    placed = [PlacedError(loc=_place(e["loc"]), msg=e["msg"]) for e in told(errors)]
    first = placed[0]
    where = ".".join(map(str, first.loc)) or "the body"
    more = f" ({len(placed) - 1} more)" if len(placed) > 1 else ""
    return InvalidInput(f"{where}: {first.msg}{more}", placed)


def _in_image(loc: Sequence[str | int]) -> bool:
    """Tells whether a place is inside one image: images.N.BRANCH, pydantic's name of the union's branch."""
    return len(loc) > 2 and loc[0] in ("images", "instances")


def _of_other_branch(error: Mapping[str, Any]) -> bool:
    """Tells whether the error only says that a nested list is no PNG object, or the reverse."""
    is_object = isinstance(error["input"], dict)
    wrong_kind = {"model_type"} if not is_object else {"list_type"}
    return len(error["loc"]) == 3 and _in_image(error["loc"]) and error["type"] in wrong_kind


def _place(loc: Sequence[str | int]) -> list[str | int]:
    """Drops the name that pydantic gives to the branch of an image's union, at images.N.BRANCH."""
    return [*loc[:2], *loc[3:]] if _in_image(loc) else list(loc)
