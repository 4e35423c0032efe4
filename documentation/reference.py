"""Reference pages written by the program itself: its command line, and what its OpenAPI document holds."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from service.app import create_app
from service.settings import Settings

Json = dict[str, Any]


def write_reference(directory: Path) -> None:
    """Writes command-line.md and rest.md, to be included by the pages of docs/reference/."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "command-line.md").write_text(_command_line())
    (directory / "rest.md").write_text("\n".join(_rest(create_app(Settings()).openapi())) + "\n")


def _command_line() -> str:
    told = [sys.executable, "-m", "typer", "whitebox.cli", "utils", "docs", "--name", "whitebox"]
    text = subprocess.run(told, check=True, capture_output=True, text=True).stdout
    return text.removeprefix("# `whitebox`\n\n")


def _rest(document: Json) -> Iterator[str]:
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    for tag, group in groupby(operations, key=lambda each: each[2]["tags"][0]):
        yield f"## {tag[0].upper()}{tag[1:]}\n"
        for method, path, operation in group:
            yield f"### `{method.upper()} {path}` {{: #{operation['operationId']} }}\n"
            yield from _operation(operation)
    yield "## Schemas\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f"### {name} {{: #{name.lower()} }}\n"
        yield from _schema(schema)


def _operation(operation: Json) -> Iterator[str]:
    yield f"{operation['description']}\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | meaning |\n|---|---|---|---|"
        for each in parameters:
            yield f"| `{each['name']}` | {each['in']} | {_type(each['schema'])} | {_words(each)} |"
        yield ""
    if body := operation.get("requestBody"):
        yield f"- **Body**: {_contents(body)}"
    responses = operation["responses"]
    yield f"- **Answer**: {_contents(responses['200'])}"
    refused = [(status, answer) for status, answer in responses.items() if status != "200"]
    if refused:
        told = "; ".join(f"{status}, {answer['description'].lower()}" for status, answer in sorted(refused))
        yield f"- **Refused** as {_contents(refused[0][1])}: {told}"
    yield ""


def _contents(described: Json) -> str:
    """Returns the media types of a body or an answer, each with its schema; files have none."""
    kinds = {media: _type(of.get("schema", {})) for media, of in described.get("content", {}).items()}
    return ", ".join(f"`{media}` {kind}".removesuffix(" binary") for media, kind in kinds.items())


def _schema(schema: Json) -> Iterator[str]:
    if "description" in schema:
        yield f"{schema['description']}\n"
    required = schema.get("required", [])
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else f"`{field['default']}`" if field.get("default") else ""
        yield f"| `{name}` | {_type(field)} | {default} | {_words(field)} |"
    yield ""


def _type(schema: Json) -> str:
    """Returns a schema's type in words; what has a name is a link."""
    match schema:
        case {"$ref": str(place)}:
            name = place.rpartition("/")[2]
            words = f"[{name}](#{name.lower()})"
        case {"anyOf": list(kinds)} | {"oneOf": list(kinds)}:
            words = " or ".join(map(_type, kinds))
        case {"const": value}:
            words = f"`{value}`"
        case {"enum": list(values)}:
            words = ", ".join(f"`{value}`" for value in values)
        case {"type": "array"}:
            words = f"list of {_type(schema.get('items', {}))}"
        case {"additionalProperties": dict(values)}:
            words = f"object of {_type(values)}"
        case _:
            words = str(schema.get("format") or schema.get("type") or "any") + _range(schema)
    return words


def _range(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    return "" if least is None or most is None else f" {least:g} to {most:g}"


def _words(described: Json) -> str:
    return " ".join(described.get("description", "").split()).replace("|", "\\|")
