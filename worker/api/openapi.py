"""OpenAPI 3.1 of the worker's routes, with each function's own input schema under `input`.

A function is one alternative of the body of `POST /task`. The schemas that pydantic made are used
as they are (OpenAPI 3.1 is JSON Schema); only their definitions move to `components/schemas`, under
names that belong to the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.openapi import (
    CORRELATION_ID,
    SCHEMAS,
    JsonObject,
    errors,
    json_kinds,
    ref,
    task_body,
)
from worker.api.openapi_routes import OTHER_PATHS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.capability import FunctionSpec

_TASK_CODES = (
    "unauthorized", "body_too_large", "bad_request", "invalid_json", "maintenance", "invalid_priority",
    "invalid_function", "invalid_contract", "contract_mismatch", "invalid_input", "invalid_mode",
    "function_not_found", "streaming_not_supported", "invalid_webhook", "invalid_field",
    "invalid_params", "function_error", "timeout", "queue_timeout", "queue_full", "cancelled",
    "webhook_failed", "shutting_down", "request_timeout", "result_too_large",
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
    schemas: JsonObject = dict(SCHEMAS)
    bodies = [task_body(spec, contract, schemas) for spec in functions]
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
        "parameters": [CORRELATION_ID],
        "requestBody": {"required": True, "content": json_kinds(schema)},
        "responses": {"200": _SUCCESS, **errors(_TASK_CODES)},
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
        **json_kinds({"anyOf": [ref("Result"), ref("Sent")]}),
        "text/plain": {"schema": {"type": "string"}},
        "text/event-stream": {},
        "application/x-ndjson": {"schema": {"type": "string"}},
    },
}
