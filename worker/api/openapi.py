"""OpenAPI 3.1 of the worker's routes, with each function's own input schema under `input`.

A function is one alternative of the body of `POST /task`. The schemas that pydantic made are used
as they are (OpenAPI 3.1 is JSON Schema); only their definitions move to `components/schemas`, under
names that belong to the function.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from shared.errors import CODES
from shared.task import PRIORITY_FIRST, PRIORITY_LAST, Mode
from worker.api.openapi_routes import OTHER_PATHS, json_body, ref

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.capability import FunctionSpec

JsonObject = dict[str, object]

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")  # what OpenAPI allows in names of components
_TASK_CODES = (
    "unauthorized", "body_too_large", "bad_request", "invalid_json", "maintenance", "invalid_priority",
    "invalid_function", "invalid_contract", "contract_mismatch", "invalid_input", "invalid_mode",
    "function_not_found", "streaming_not_supported", "invalid_webhook", "invalid_field",
    "invalid_params", "function_error", "timeout", "queue_timeout", "queue_full", "cancelled",
    "webhook_failed", "shutting_down",
)  # fmt: skip


def document(
    functions: Iterable[FunctionSpec], *, group: str, contract: int, version: str
) -> JsonObject:
    """Return the OpenAPI document of a worker.

    Args:
        functions: what it hosts.
        group: the group it belongs to.
        contract: the version of the group's interface.
        version: of the software.
    """
    schemas: JsonObject = dict(_SCHEMAS)
    bodies = [_task_of(spec, contract, schemas) for spec in functions]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Cabrank worker, group {group}, contract {contract}",
            "version": version,
            "description": "Runs one function call in each of its slots.",
        },
        "paths": {"/task": {"post": _post_task(bodies)}, **OTHER_PATHS},
        "components": {"securitySchemes": _SECURITY, "schemas": schemas},
    }


def _post_task(bodies: list[JsonObject]) -> JsonObject:
    schema: JsonObject = {"oneOf": bodies} if bodies else ref("Task")
    return {
        "operationId": "runTask",
        "summary": "Run a function",
        "description": (
            "Answers in the same call (`sync`), piece by piece (`stream`), or to a URL (`webhook`)."
        ),
        "security": [{"authorization": []}],
        "parameters": [
            {
                "name": "x-correlation-id",
                "in": "header",
                "schema": {"type": "string", "maxLength": 128},
                "description": "Returned and logged; made when absent.",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                "application/msgpack": {"schema": schema},
            },
        },
        "responses": {"200": _SUCCESS, **_errors(_TASK_CODES)},
    }


def _task_of(spec: FunctionSpec, contract: int, schemas: JsonObject) -> JsonObject:
    """Return the body that calls one function; its schema's definitions go to `schemas`."""
    modes = [str(mode) for mode in Mode if spec.streaming or mode is not Mode.STREAM]
    body = cast("JsonObject", _SCHEMAS["Task"])
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


def _errors(codes: Iterable[str]) -> JsonObject:
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


_SECURITY: JsonObject = {
    "authorization": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "AUTH_KEY, with or without `Bearer `.",
    },
    "lb": {
        "type": "apiKey",
        "in": "header",
        "name": "x-lb-auth",
        "description": "LB_AUTH_KEY, the balancers' key.",
    },
}

_SUCCESS: JsonObject = {
    "description": "sync: the result. webhook: the hook has taken it. stream: the pieces.",
    "content": {
        "application/json": {"schema": {"oneOf": [ref("Result"), ref("Sent")]}},
        "text/plain": {"schema": {"type": "string"}},
        "text/event-stream": {"schema": {"type": "string"}},
        "application/x-ndjson": {"schema": {"type": "string"}},
    },
}

_SCHEMAS: JsonObject = {
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
