"""Parts of the OpenAPI 3.1 documents of both processes: schemas, responses, and one body per function.

A function is one alternative of the body of `POST /task`. The schemas that pydantic made are used as
they are (OpenAPI 3.1 is JSON Schema); only their definitions move to `components/schemas`, under
names that belong to the function.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from shared.edge.limits import (
    MAX_ATTEMPTS,
    MAX_CODES,
    MAX_SECONDS,
    MAX_WEBHOOK_HEADERS,
    MAX_WEBHOOK_URL,
)
from shared.errors import CODES
from shared.log_ring import LEVELS
from shared.task import PRIORITY_FIRST, PRIORITY_LAST, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.capability import FunctionSpec

JsonObject = dict[str, object]

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")  # what OpenAPI allows in names of components
_JSON_KINDS = ("application/json", "application/msgpack")  # the second when `Accept` asks for it


def ref(name: str) -> JsonObject:
    """Return a reference to a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_body(name: str) -> JsonObject:
    """Return the content of an answer that is JSON of a named schema, or the same as msgpack."""
    return {"content": json_kinds(ref(name))}


def json_kinds(schema: JsonObject) -> JsonObject:
    """Return both media types in which a JSON value comes and goes."""
    return {kind: {"schema": schema} for kind in _JSON_KINDS}


def operation(summary: str, responses: JsonObject, **more: object) -> JsonObject:
    """Return one operation of a path."""
    return {"summary": summary, "responses": responses, **more}


def answer(description: str, kind: str = "", schema: JsonObject | None = None) -> JsonObject:
    """Return the response 200: of one media type, else JSON or msgpack."""
    content = {kind: {"schema": schema} if schema else {}} if kind else json_kinds(schema or {})
    return {"200": {"description": description, "content": content}}


def query(name: str, kind: str, description: str, **more: object) -> JsonObject:
    """Return a parameter of the query; `more` belongs to its schema."""
    return {
        "name": name,
        "in": "query",
        "schema": {"type": kind, **more},
        "description": description,
    }


def task_body(spec: FunctionSpec, contract: int, schemas: JsonObject) -> JsonObject:
    """Return the body that calls one function; its schema's definitions go to `schemas`.

    An omitted or null `input` is `{}`, so it must be there when a parameter must.
    """
    modes = [str(mode) for mode in Mode if spec.streaming or mode is not Mode.STREAM]
    body = cast("JsonObject", SCHEMAS["Task"])
    common = cast("JsonObject", body["properties"])
    given = _moved(spec, schemas)
    required = ["function", "contract"]
    if given.get("required"):
        required.append("input")
    elif given.get("type") == "object":
        given["type"] = ["object", "null"]
    return {
        "title": spec.name,
        "description": spec.description,
        "type": "object",
        "required": required,
        "properties": {
            **common,
            "function": {"const": spec.name},
            "contract": {"const": contract},
            "input": given,
            "mode": {"enum": modes, "default": "sync"},
        },
        **_HOOK_IS_NEEDED,
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


_HOOK_IS_NEEDED: JsonObject = {
    "if": {"required": ["mode"], "properties": {"mode": {"const": "webhook"}}},
    "then": {"required": ["webhook"]},
}

_SECONDS: JsonObject = {
    "type": ["number", "null"],
    "exclusiveMinimum": 0,
    "maximum": MAX_SECONDS,
}

CORRELATION_ID: JsonObject = {
    "name": "x-correlation-id",
    "in": "header",
    "schema": {"type": "string"},
    "description": "Returned and logged: its visible ASCII, 128 characters at most; made when absent.",
}

LOG_QUERY: list[JsonObject] = [
    query("limit", "integer", "At most so many lines, the newest.", minimum=1, maximum=999_999_999),
    query("level", "string", "This level and above.", enum=[*LEVELS, "warning"]),
    query("since", "string", "Only lines after this ISO 8601 time.", format="date-time"),
    query("task_id", "string", "Only lines of this task."),
    query("follow", "string", "Go on with new lines as server-sent events.", enum=["sse"]),
]

LOG_LINES: JsonObject = {
    "200": {
        "description": "The lines; with `follow`, an event each without end.",
        "content": {
            **json_kinds(
                {
                    "type": "object",
                    "required": ["logs"],
                    "properties": {"logs": {"type": "array", "items": {"type": "string"}}},
                }
            ),
            "text/event-stream": {},
        },
    },
    **errors(["unauthorized", "invalid_field", "queue_full"]),
}

SCHEMAS: JsonObject = {
    "Task": {
        "type": "object",
        "required": ["function", "contract"],
        "properties": {
            "function": {"type": "string"},
            "contract": {"type": "integer"},
            "input": {"type": ["object", "null"]},
            "priority": {
                "type": "number",
                "minimum": PRIORITY_FIRST,
                "maximum": PRIORITY_LAST,
                "default": 1,
                "description": "1 is first; equal ones in the order of arrival.",
            },
            "mode": {"enum": [str(mode) for mode in Mode], "default": "sync"},
            "webhook": ref("Webhook"),
            "group": {"type": ["string", "null"], "description": "Ignored by a worker."},
            "timeout_s": {**_SECONDS, "description": "Of one run."},
            "deadline_s": {**_SECONDS, "description": "Of the whole call, waiting included."},
            "max_attempts": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_ATTEMPTS},
            "retry_on": {
                "type": ["array", "null"],
                "items": {"enum": list(CODES)},
                "minItems": 1,
                "maxItems": MAX_CODES,
                "description": "Only after these codes another attempt follows.",
            },
            "metadata": {
                "type": ["object", "null"],
                "description": "Returned, never interpreted.",
            },
        },
        **_HOOK_IS_NEEDED,
    },
    "Webhook": {
        "type": "object",
        "required": ["url"],
        "examples": [{"url": "https://example.com/hook"}],
        "properties": {
            "url": {
                "type": "string",
                "format": "uri",
                "pattern": "^https?://",
                "maxLength": MAX_WEBHOOK_URL,
            },
            "headers": {
                "type": ["object", "null"],
                "maxProperties": MAX_WEBHOOK_HEADERS,
                "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"},
                "additionalProperties": {
                    "type": "string",
                    "pattern": "^[^\\x00-\\x08\\x0a-\\x1f\\x7f]*$",
                },
                "description": "Not those of the connection, nor Host and Content-Length.",
            },
            "envelope": {"type": ["boolean", "null"], "default": False},
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
