"""Unknown query parameters and body fields: refused, with the nearest name that is known."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import ErrorDetails
from starlette.requests import Request

from service.errors import invalid_at
from service.http.validation_errors import told

JSONSchema = Mapping[str, Any]


def refuse_unknown_query(query: bytes, known: Collection[str]) -> None:
    """Lets a query string pass that has known parameters only.

    Args:
        query: As it stands in the URL, behind the question mark.
        known: Names of the parameters that the route has.

    Raises:
        InvalidInput: It has another; the message names the nearest known one.
    """
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise invalid_at([name], f"there is no query parameter of this name{suggestion(name, known)}")


async def refuse_unknown_query_parameters(request: Request) -> None:
    """Dependency of every route: its OpenAPI documentation lists the query parameters that are known.

    Raises:
        InvalidInput: The request has another.
    """
    if query := request.scope["query_string"]:
        parameters = documented_operation(request).get("parameters", ())
        refuse_unknown_query(query, [each["name"] for each in parameters if each["in"] == "query"])


def documented_operation(request: Request) -> JSONSchema:
    """Returns what the OpenAPI document says of the operation that a request was routed to."""
    path: JSONSchema = request.app.openapi()["paths"].get(request.scope["route"].path_format, {})
    operation: JSONSchema = path.get(request.method.lower(), {})
    return operation


def name_nearest_fields(
    errors: Sequence[ErrorDetails], schema: JSONSchema, definitions: JSONSchema
) -> list[ErrorDetails]:
    """Returns those of pydantic's findings that are told, those of unknown fields with the nearest known one.

    Args:
        errors: Places begin at the body.
        schema: Of the body.
        definitions: Schemas that others refer to, by name.
    """
    return [
        {**error, "msg": _unknown_field(error["loc"], schema, definitions)}
        if error["type"] == "extra_forbidden"
        else error
        for error in told(errors)
    ]


def _unknown_field(loc: Sequence[str | int], schema: JSONSchema, definitions: JSONSchema) -> str:
    *place, name = loc
    return f"there is no field of this name{suggestion(str(name), fields_at(place, schema, definitions))}"


def suggestion(name: str, known: Collection[str]) -> str:
    """Returns the end of a message about an unknown name: the nearest known one, or else all of them."""
    if not known:
        return "; there are none here"
    if nearest := get_close_matches(name, known, n=1):
        return f"; did you mean {nearest[0]!r}?"
    return f"; there are {', '.join(sorted(known))}"


def fields_at(place: Sequence[str | int], schema: JSONSchema, definitions: JSONSchema) -> Collection[str]:
    """Returns the fields that an object of a JSON document may have.

    Args:
        place: Of the object in the document, as pydantic tells it: with the name of the branch where its
            schema is a union.
        schema: Of the document.
        definitions: Schemas that others refer to, by name.
    """
    schema = _resolved(schema, definitions)
    for step in place:
        if branches := schema.get("anyOf"):
            named = [each for each in branches if _name(each) == step]
            schema = named[0] if named else {}
        elif isinstance(step, int):
            schema = schema.get("items", {})
        else:
            schema = schema.get("properties", {}).get(step, {})
        schema = _resolved(schema, definitions)
    return list(schema.get("properties", ()))


def _name(schema: JSONSchema) -> str | None:
    return schema["$ref"].rpartition("/")[2] if "$ref" in schema else None


def _resolved(schema: JSONSchema, definitions: JSONSchema) -> JSONSchema:
    """Returns what a reference, or a union of one, stands for."""
    while (name := _name(schema)) is not None or len(schema.get("oneOf", ())) == 1:
        schema = definitions[name] if name is not None else schema["oneOf"][0]
    return schema
