"""How a function's parameters are shown: as JSON Schema, and as Andera's parameter map.

The JSON Schema is the whole truth; the map (`{p: {type, required?, default?, enum?, pattern?, min?,
max?}}`, contract §3) is what clients of Andera read, and says of each parameter what the map has
words for. In it min and max mean the value of a number and the length of anything else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.json_schema import JsonSchemaWarningKind

JsonObject = dict[str, object]

_LENGTHS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


class _PlainJsonSchema(GenerateJsonSchema):
    """JSON Schema without titles made up from names; a title that the author gives stays."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """Tell pydantic to invent no title."""
        return False

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Raise what pydantic only warns of: a schema that leaves something out misleads callers."""
        raise PydanticInvalidForJsonSchema(detail)


def json_schema(adapter: TypeAdapter[JsonObject]) -> JsonObject:
    """Return the JSON Schema of `input`."""
    schema = adapter.json_schema(schema_generator=_PlainJsonSchema)
    schema.pop("title", None)
    return {"type": "object", "properties": {}, **schema}


def andera_params(schema: JsonObject) -> JsonObject:
    """Return Andera's parameter map of a JSON Schema made by `json_schema`."""
    properties = cast("dict[str, JsonObject]", schema["properties"])
    required = cast("list[str]", schema.get("required", []))
    definitions = cast("dict[str, JsonObject]", schema.get("$defs", {}))
    return {
        name: _param(_resolve(declared, definitions), name in required)
        for name, declared in properties.items()
    }


def _param(schema: JsonObject, required: bool) -> JsonObject:
    kind = _andera_type(schema)
    shown: JsonObject = {"type": kind}
    if required:
        shown["required"] = True
    if "default" in schema:
        shown["default"] = schema["default"]
    if "const" in schema:
        shown["enum"] = [schema["const"]]
    for word in ("enum", "pattern"):
        if word in schema:
            shown[word] = schema[word]
    low, high = _bounds(schema, kind)
    if low is not None:
        shown["min"] = low
    if high is not None:
        shown["max"] = high
    return shown


def _andera_type(schema: JsonObject) -> str:
    """Return Andera's name of the type; `any` for what may be of several."""
    if "type" in schema:
        name = schema["type"]
        return "number" if name == "integer" else str(name)
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    branches = cast("list[JsonObject]", schema.get("anyOf", schema.get("oneOf", [])))
    names = {_json_type(choice) for choice in cast("list[object]", choices) if choice is not None}
    names |= {_andera_type(branch) for branch in branches}
    return names.pop() if len(names) == 1 else "any"


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "any"


def _bounds(schema: JsonObject, kind: str) -> tuple[object, object]:
    if kind in _LENGTHS:
        low, high = _LENGTHS[kind]
        return schema.get(low), schema.get(high)
    if kind != "number":
        return None, None
    whole = schema.get("type") == "integer"
    return (
        schema.get("minimum", _beyond(schema.get("exclusiveMinimum"), whole, 1)),
        schema.get("maximum", _beyond(schema.get("exclusiveMaximum"), whole, -1)),
    )


def _beyond(bound: object, whole: bool, step: int) -> int | None:
    """Return the whole number that an exclusive bound still allows; the map has no other word for it."""
    if not whole or not isinstance(bound, int | float):
        return None
    return (math.floor(bound) if step > 0 else math.ceil(bound)) + step


def _resolve(schema: JsonObject, definitions: dict[str, JsonObject]) -> JsonObject:
    """Follow references and drop `null`, so that `Color | None` is shown as Color."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = definitions.get(reference.removeprefix("#/$defs/"), {})
        rest = {word: value for word, value in schema.items() if word != "$ref"}
        return {**_resolve(target, definitions), **rest}
    branches = cast("list[JsonObject]", schema.get("anyOf", []))
    kept = [_resolve(branch, definitions) for branch in branches if branch.get("type") != "null"]
    if not branches:
        return schema
    rest = {word: value for word, value in schema.items() if word != "anyOf"}
    return {**kept[0], **rest} if len(kept) == 1 else {**rest, "anyOf": kept}
