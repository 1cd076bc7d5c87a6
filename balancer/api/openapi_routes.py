"""OpenAPI of the balancer's routes other than `POST /task`."""

from __future__ import annotations

from balancer.api.task_pages import LARGEST_PAGE, MAX_CURSOR
from shared.edge.limits import MAX_POLL_S
from shared.edge.openapi import (
    LOG_LINES,
    LOG_QUERY,
    JsonObject,
    answer,
    errors,
    operation,
    query,
    ref,
)
from shared.task import Mode, Origin
from shared.task_state import TaskStatus

_TEXT: JsonObject = {"type": "string"}
_MOMENT: JsonObject = {"type": ["string", "null"], "format": "date-time"}

SCHEMAS: JsonObject = {
    "Accepted": {
        "type": "object",
        "required": ["success", "message", "task_id"],
        "properties": {"success": {"const": True}, "message": _TEXT, "task_id": _TEXT},
    },
    "Attempt": {
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "worker": _TEXT,
            "started_at": _MOMENT,
            "finished_at": _MOMENT,
            "outcome": {"type": ["string", "null"]},
            "code": _TEXT,
        },
    },
    "TaskRecord": {
        "type": "object",
        "required": ["task_id", "group", "function", "contract", "mode", "status", "created_at"],
        "properties": {
            "task_id": _TEXT,
            "group": _TEXT,
            "function": _TEXT,
            "contract": {"type": "integer"},
            "mode": {"enum": [str(mode) for mode in Mode]},
            "priority": {"type": "number"},
            "status": {"enum": [str(status) for status in TaskStatus]},
            "created_at": _MOMENT,
            "started_at": _MOMENT,
            "finished_at": _MOMENT,
            "due_at": {**_MOMENT, "description": "While it is scheduled: when it may start."},
            "attempts": {"type": "array", "items": ref("Attempt")},
            "worker": {"type": ["string", "null"]},
            "result": {},
            "error": _TEXT,
            "code": _TEXT,
            "details": {"type": "array", "items": {"type": "object"}},
            "metadata": {"type": ["object", "null"]},
            "origin": {"enum": [str(origin) for origin in Origin]},
            "correlation_id": _TEXT,
            "replay_of": {
                **_TEXT,
                "description": "The dead task whose request this one runs again.",
            },
            "webhook": {
                "type": "object",
                "properties": {
                    "status": {"enum": ["pending", "delivered", "dead"]},
                    "attempts": {"type": "integer"},
                    "next_at": _MOMENT,
                },
            },
        },
    },
    "Worker": {
        "type": "object",
        "required": ["id", "url", "status", "weight", "link"],
        "properties": {
            "id": _TEXT,
            "url": _TEXT,
            "status": {"enum": ["ready", "maintenance", "unreachable"]},
            "weight": {"type": "number"},
            "link": {"enum": ["cabrank", "legacy", "none"]},
            "group": _TEXT,
            "contract": {"type": "integer"},
            "slots": {"type": "object"},
            "functions": {"type": "array", "items": {"type": "object"}},
            "tags": {"type": "object"},
            "services": {"type": "array", "items": {"type": "object"}},
            "system": {"type": "object"},
            "websocketPort": {"type": "integer"},
            "contractValid": {"type": "boolean"},
            "contractMismatchReason": _TEXT,
            "problem": _TEXT,
            "stuck": {"type": "integer"},
            "retired": {"const": True},
            "workerId": _TEXT,
            "version": _TEXT,
            "latency_ms": {"type": "number"},
        },
    },
}

_CLOSED = errors(["unauthorized"])
_PUBLIC: list[JsonObject] = [{}]
_ANY: list[JsonObject] = [{}, {"authorization": []}, {"lb": []}]
_TASK_ID: JsonObject = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
_WORKER_ID: JsonObject = {**_TASK_ID, "description": "`host:port`, as listed."}
_TASKS: JsonObject = {
    "type": "object",
    "properties": {
        "tasks": {"type": "array", "items": ref("TaskRecord")},
        "next": {"type": ["string", "null"]},
    },
}
_WORKERS: JsonObject = {
    "type": "object",
    "properties": {"workers": {"type": "array", "items": ref("Worker")}},
}
_SWITCHED: JsonObject = {
    "type": "object",
    "properties": {"status": {"enum": ["ready", "maintenance"]}, "message": _TEXT},
}


def _get(name: str, summary: str, responses: JsonObject, **more: object) -> JsonObject:
    return {"get": operation(summary, responses, operationId=name, **more)}


def _post(name: str, summary: str, responses: JsonObject, **more: object) -> JsonObject:
    return {"post": operation(summary, responses, operationId=name, **more)}


OTHER_PATHS: JsonObject = {
    "/tasks": _get(
        "listTasks",
        "List tasks, newest first",
        {
            **answer("A page.", schema=_TASKS),
            **errors(["unauthorized", "invalid_field", "store_unavailable"]),
        },
        parameters=[
            query(
                "status", "string", "Only tasks in this state.", enum=[str(s) for s in TaskStatus]
            ),
            query("function", "string", "Only tasks of this function."),
            query("group", "string", "Only tasks of this group."),
            query("limit", "integer", "Tasks on a page.", minimum=1, maximum=LARGEST_PAGE),
            query("cursor", "string", "The `next` of the page before.", maxLength=MAX_CURSOR),
        ],
    ),
    "/tasks/{id}": _get(
        "getTask",
        "Show a task",
        {
            **answer("The task.", schema=ref("TaskRecord")),
            **errors(
                [
                    "unauthorized",
                    "invalid_field",
                    "task_not_found",
                    "queue_full",
                    "store_unavailable",
                ]
            ),
        },
        parameters=[
            _TASK_ID,
            query(
                "wait",
                "number",
                "Wait so many seconds for its end.",
                minimum=0,
                maximum=MAX_POLL_S,
                default=0,
            ),
        ],
    ),
    "/tasks/{id}/stream": _get(
        "resumeStream",
        "Take up an SSE stream after `Last-Event-ID`",
        {
            **answer("The events that are left.", "text/event-stream"),
            **errors(["unauthorized", "task_not_found", "not_found"]),
        },
        parameters=[_TASK_ID, {"name": "Last-Event-ID", "in": "header", "schema": _TEXT}],
    ),
    "/tasks/{id}/cancel": _post(
        "cancelTask",
        "Cancel a task that has not ended",
        {
            **answer("Cancelled.", schema={"type": "object"}),
            **errors(["unauthorized", "task_not_found", "task_finished", "store_unavailable"]),
        },
        parameters=[_TASK_ID],
    ),
    "/workers": _get(
        "listWorkers", "List the fleet", {**answer("The workers.", schema=_WORKERS), **_CLOSED}
    ),
    "/workers/{id}": _get(
        "getWorker",
        "Show a worker",
        {
            **answer("The worker.", schema=ref("Worker")),
            **errors(["unauthorized", "worker_not_found"]),
        },
        parameters=[_WORKER_ID],
    ),
    "/workers/{id}/off": _post(
        "drainWorker",
        "Order a worker into maintenance; the order outlives its restart",
        {
            **answer("Ordered.", schema=_SWITCHED),
            **errors(
                ["unauthorized", "worker_not_found", "worker_unreachable", "store_unavailable"]
            ),
        },
        parameters=[_WORKER_ID],
    ),
    "/workers/{id}/on": _post(
        "undrainWorker",
        "End a worker's maintenance",
        {
            **answer("Ordered.", schema=_SWITCHED),
            **errors(
                ["unauthorized", "worker_not_found", "worker_unreachable", "store_unavailable"]
            ),
        },
        parameters=[_WORKER_ID],
    ),
    "/health": _get(
        "health",
        "Tell the status; with the key, everything. Always 200",
        answer("ready or unreachable.", schema={"type": "object", "required": ["status"]}),
        security=_ANY,
    ),
    "/logs": _get(
        "logs",
        "Show the last lines of the log, oldest first",
        LOG_LINES,
        parameters=LOG_QUERY,
    ),
    "/metrics": _get(
        "metrics",
        "Tell the metrics, for Prometheus",
        {**answer("Text.", "text/plain", _TEXT), **_CLOSED},
    ),
    "/openapi": _get(
        "openapi", "This document", {**answer("OpenAPI 3.1.", "application/json"), **_CLOSED}
    ),
    "/docs": _get(
        "docs",
        "Show this document in Swagger UI",
        answer("A page.", "text/html", _TEXT),
        security=_PUBLIC,
    ),
}
