"""OpenAPI 3.1 of the balancer's routes, with the input schema of every function that the fleet hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from balancer.api.openapi_dead import DEAD_PATHS, DEAD_SCHEMAS
from balancer.api.openapi_routes import OTHER_PATHS, SCHEMAS
from shared.edge import openapi
from shared.edge.limits import MAX_KEY, MAX_MOMENT, MAX_PREFER_WAIT_S, MAX_SECONDS
from shared.edge.openapi import CORRELATION_ID, JsonObject, errors, json_kinds, ref, task_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.fleet.worker import FleetWorker
    from shared.ids import LaneKey

_CODES = (
    "unauthorized", "body_too_large", "bad_request", "invalid_json", "invalid_request", "expired",
    "quarantined", "idempotency_conflict",
    "invalid_priority", "invalid_function", "invalid_contract", "invalid_input", "invalid_mode",
    "invalid_webhook", "invalid_field", "invalid_params", "group_not_found", "contract_not_found",
    "function_not_found", "streaming_not_supported", "no_worker_available", "queue_full",
    "queue_timeout", "function_error", "timeout", "worker_lost", "cancelled", "store_unavailable",
    "shutting_down", "request_timeout", "result_too_large", "worker_unreachable",
)  # fmt: skip


def document(workers: Iterable[FleetWorker], version: str) -> JsonObject:
    """Return the document.

    Args:
        workers: the fleet; a function is listed once, as its first worker announces it.
        version: of the software.
    """
    schemas: JsonObject = {**openapi.SCHEMAS, **SCHEMAS, **DEAD_SCHEMAS}
    bodies: dict[LaneKey, JsonObject] = {}
    for worker in workers:
        if worker.pool is None:
            continue
        for spec in worker.functions.values():
            lane = (*worker.pool, spec.name)
            if lane not in bodies and spec.name not in worker.differences:
                bodies[lane] = _of_group(task_body(spec, worker.pool[1], schemas), worker.pool[0])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cabrank balancer",
            "version": version,
            "description": "Holds the queue and hands each task to the next free slot of the fleet.",
        },
        "paths": {
            "/task": {"post": _post_task(list(bodies.values()))},
            **OTHER_PATHS,
            **DEAD_PATHS,
        },
        "components": {"securitySchemes": _SECURITY, "schemas": schemas},
        "security": [{"authorization": []}, {"lb": []}],
    }


def _of_group(body: JsonObject, group: str) -> JsonObject:
    properties = cast("JsonObject", body["properties"])
    only = {"enum": [group, None], "description": "Needed when several groups host the function."}
    return {**body, "properties": {**properties, "group": only, **_START}}


def _post_task(bodies: list[JsonObject]) -> JsonObject:
    any_task: JsonObject = {"allOf": [ref("Task"), {"properties": _START}]}
    schema: JsonObject = {"anyOf": bodies} if bodies else any_task
    return {
        "operationId": "submitTask",
        "summary": "Submit a task",
        "description": (
            "Answers in the same call (`sync`), piece by piece (`stream`), or with 202 once the task is "
            "committed, and later to a URL (`webhook`)."
        ),
        "parameters": [
            {
                "name": "x-wr-auth", "in": "header", "schema": {"type": "string"},
                "description": "Key of a plain HTTP worker.",
            },
            CORRELATION_ID,
            {
                "name": "Prefer", "in": "header", "schema": {"type": "string"},
                "description": (
                    "`respond-async`: 202 at once, the result is kept. `respond-async, wait=N`: the result "
                    f"when it is there within N seconds ({MAX_PREFER_WAIT_S:.0f} at most), else 202."
                ),
            },
            {
                "name": "Idempotency-Key", "in": "header",
                "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY}}}$"},
                "description": (
                    "Names what is asked for: the same key and payload again are the same task, which is "
                    "joined, or its answer comes again with `Idempotency-Replayed: true`."
                ),
            },
        ],
        "requestBody": {"required": True, "content": json_kinds(schema)},
        "responses": {"200": _RESULT, "202": _ACCEPTED, **errors(_CODES)},
    }  # fmt: skip


_START: JsonObject = {
    "delay_s": {
        "type": ["number", "null"], "minimum": 0, "maximum": MAX_SECONDS,
        "description": "Seconds until it may start; of a durable task.",
    },
    "run_at": {
        "type": ["string", "null"], "format": "date-time", "maxLength": MAX_MOMENT,
        "description": "Instead, the moment at which it may, with its offset from UTC.",
    },
}  # fmt: skip

_SECURITY: JsonObject = {
    "authorization": {
        "type": "apiKey", "in": "header", "name": "Authorization",
        "description": "LB_AUTH_KEY, with or without `Bearer `.",
    },
    "lb": {"type": "apiKey", "in": "header", "name": "x-lb-auth", "description": "LB_AUTH_KEY."},
}  # fmt: skip

_REPLAYED: JsonObject = {
    "schema": {"const": "true"},
    "description": "The task was accepted by an earlier request with this key.",
}

_RESULT: JsonObject = {
    "description": "sync: the result. stream: the pieces.",
    "headers": {"Idempotency-Replayed": _REPLAYED},
    "content": {
        **json_kinds(ref("Result")),
        "text/plain": {"schema": {"type": "string"}},
        "text/event-stream": {},
        "application/x-ndjson": {"schema": {"type": "string"}},
    },
}

_ACCEPTED: JsonObject = {
    "description": "Committed to the store.",
    "headers": {
        "Location": {"schema": {"type": "string"}, "description": "/tasks/{id}"},
        "Preference-Applied": {
            "schema": {"type": "string"},
            "description": "What of `Prefer` was followed.",
        },
        "Idempotency-Replayed": _REPLAYED,
    },
    "content": json_kinds(ref("Accepted")),
}
