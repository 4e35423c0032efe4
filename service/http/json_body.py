"""JSON bodies, measured before they are parsed: a million values take a second and a gigabyte."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from service.budgets import RequestBudgets
from service.errors import TooManyValues, invalid_at
from service.http.unknown import name_nearest_fields
from service.http.validation_errors import invalid_input

Schema = TypeVar("Schema", bound=BaseModel)

# Every value in JSON is the first in a list or an object, or has a comma before it.
_BEFORE_VALUES = b",[{"


def parse_values(body: bytes, budgets: RequestBudgets) -> Any:  # noqa: ANN401 (whatever JSON can hold)
    """Returns the values of a body.

    Raises:
        TooManyValues: It has more values, or fields, than any request needs.
        ValueError: It is not JSON.
    """
    _check_size(body, budgets)
    return from_json(body)


def parse_json(schema: type[Schema], body: bytes, budgets: RequestBudgets) -> Schema:
    """Reads a body by its schema.

    Raises:
        TooManyValues: It has more values, or fields, than any request needs.
        InvalidInput: It is not JSON, or not what the schema says; every place is named.
    """
    _check_size(body, budgets)
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        body_schema = schema.model_json_schema()
        found = error.errors(include_url=False)
        raise invalid_input(name_nearest_fields(found, body_schema, body_schema.get("$defs", {}))) from None


def _check_size(body: bytes, budgets: RequestBudgets) -> None:
    values = len(body) - len(body.translate(None, _BEFORE_VALUES))
    if values > budgets.max_json_values:
        message = f"{values} values are too many, {budgets.max_json_values} are allowed"
        raise invalid_at([], message, TooManyValues)
    if (fields := body.count(b":")) > budgets.max_json_fields:
        message = f"{fields} fields are too many, {budgets.max_json_fields} are allowed"
        raise invalid_at([], message, TooManyValues)
