"""Parts of the OpenAPI 3.1 documents of both processes: schemas, responses, and one body per function.

A function is one alternative of the body of `POST /task`. The schemas that pydantic made are used as
they are (OpenAPI 3.1 is JSON Schema); only their definitions move to `components/schemas`, under
names that belong to the function.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from shared.errors import CODES
from shared.task import PRIORITY_FIRST, PRIORITY_LAST, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.capability import FunctionSpec

JsonObject = dict[str, object]

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")  # what OpenAPI allows in names of components


def ref(name: str) -> JsonObject:
    """Return a reference to a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_body(name: str) -> JsonObject:
    """Return the content of an answer that is JSON of a named schema."""
    return {"content": {"application/json": {"schema": ref(name)}}}


def operation(summary: str, responses: JsonObject, **more: object) -> JsonObject:
    """Return one operation of a path."""
    return {"summary": summary, "responses": responses, **more}


def answer(description: str, kind: str = "application/json", schema: object = None) -> JsonObject:
    """Return the response 200."""
    return {"200": {"description": description, "content": {kind: {"schema": schema or {}}}}}


def query(name: str, kind: str, description: str) -> JsonObject:
    """Return a parameter of the query."""
    return {"name": name, "in": "query", "schema": {"type": kind}, "description": description}


def task_body(spec: FunctionSpec, contract: int, schemas: JsonObject) -> JsonObject:
    """Return the body that calls one function; its schema's definitions go to `schemas`."""
    modes = [str(mode) for mode in Mode if spec.streaming or mode is not Mode.STREAM]
    body = cast("JsonObject", SCHEMAS["Task"])
    common = cast("JsonObject", body["properties"])
    return {
        "title": spec.name,
        "description": spec.description,
        "type": "object",
        "required": ["function", "contract"],
        "properties": {
            **common,
            "function": {"const": spec.name},
            "contract": {"const": contract},
            "input": _moved(spec, schemas),
            "mode": {"enum": modes, "default": "sync"},
        },
    }


def _moved(spec: FunctionSpec, schemas: JsonObject) -> JsonObject:
    """Return a function's input schema, its definitions moved to the components."""
    schema = dict(spec.input_schema or {"type": "object"})
    definitions = cast("JsonObject", schema.pop("$defs", {}))
    # Distinct function names may look alike without the characters that components may not have.
    prefix = f"{_NOT_IN_A_NAME.sub('_', spec.name)}.{len(schemas)}"
    names = {f"#/$defs/{name}": f"{prefix}.{_NOT_IN_A_NAME.sub('_', name)}" for name in definitions}
    for name, definition in definitions.items():
        schemas[names[f"#/$defs/{name}"]] = _redirected(definition, names)
    return cast("JsonObject", _redirected(schema, names))


def _redirected(value: object, names: dict[str, str]) -> object:
    """Return a schema with its references to definitions pointing to the components."""
    if isinstance(value, list):
        return [_redirected(item, names) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    members = cast("JsonObject", value)
    return {
        key: f"#/components/schemas/{names[item]}"
        if key == "$ref" and isinstance(item, str) and item in names
        else _redirected(item, names)
        for key, item in members.items()
    }


def errors(codes: Iterable[str]) -> JsonObject:
    """Return the responses of a list of codes, those of one status together."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in same),
            **json_body("Error"),
        }
        for status, same in sorted(by_status.items())
    }


SCHEMAS: JsonObject = {
    "Task": {
        "type": "object",
        "required": ["function", "contract"],
        "properties": {
            "function": {"type": "string"},
            "contract": {"type": "integer"},
            "input": {"type": "object"},
            "priority": {
                "type": "number",
                "minimum": PRIORITY_FIRST,
                "maximum": PRIORITY_LAST,
                "default": 1,
                "description": "1 is first; equal ones in the order of arrival.",
            },
            "mode": {"enum": [str(mode) for mode in Mode], "default": "sync"},
            "webhook": ref("Webhook"),
            "group": {"type": "string", "description": "Ignored by a worker."},
            "timeout_s": {"type": "number", "exclusiveMinimum": 0, "description": "Of one run."},
            "deadline_s": {
                "type": "number",
                "exclusiveMinimum": 0,
                "description": "Of the whole call, waiting included.",
            },
            "max_attempts": {"type": "integer", "minimum": 1},
            "metadata": {"type": "object", "description": "Returned, never interpreted."},
        },
    },
    "Webhook": {
        "type": "object",
        "required": ["url"],
        "properties": {
            "url": {"type": "string", "format": "uri"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
            "envelope": {"type": "boolean", "default": False},
        },
    },
    "Result": {
        "type": "object",
        "required": ["success", "task_id"],
        "properties": {
            "success": {"const": True},
            "result": {"description": "What the function returned; absent when it was nothing."},
            "task_id": {"type": "string"},
        },
    },
    "Sent": {
        "type": "object",
        "required": ["success", "message", "task_id"],
        "properties": {
            "success": {"const": True},
            "message": {"const": "Sent to webhook"},
            "task_id": {"type": "string"},
        },
    },
    "Error": {
        "type": "object",
        "required": ["success", "error", "code"],
        "properties": {
            "success": {"const": False},
            "error": {"type": "string"},
            "code": {"type": "string"},
            "task_id": {"type": "string"},
            "error_type": {"type": "string"},
            "details": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"param": {"type": "string"}, "problem": {"type": "string"}},
                },
            },
        },
    },
}
