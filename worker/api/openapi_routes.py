"""OpenAPI of the worker's routes other than `POST /task`: they are the same on every worker."""

from __future__ import annotations

JsonObject = dict[str, object]


def ref(name: str) -> JsonObject:
    """Return a reference to a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_body(name: str) -> JsonObject:
    """Return the content of an answer that is JSON of a named schema."""
    return {"content": {"application/json": {"schema": ref(name)}}}


def _operation(summary: str, responses: JsonObject, **more: object) -> JsonObject:
    return {"summary": summary, "responses": responses, **more}


def _answer(description: str, kind: str = "application/json", schema: object = None) -> JsonObject:
    return {"200": {"description": description, "content": {kind: {"schema": schema or {}}}}}


def _query(name: str, kind: str, description: str) -> JsonObject:
    schema = {"type": kind}
    return {"name": name, "in": "query", "schema": schema, "description": description}


_UNAUTHORIZED: JsonObject = {"401": {"description": "`unauthorized`", **json_body("Error")}}
_EITHER_KEY: list[JsonObject] = [{"authorization": []}, {"lb": []}]
_NO_KEY: JsonObject = {}
_STATUS: JsonObject = {"enum": ["ready", "maintenance"]}

_HEALTH: JsonObject = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": _STATUS,
        "group": {"type": "string"},
        "contract": {"type": "integer"},
        "websocketPort": {"type": "integer"},
        "functions": {"type": "array", "items": {"type": "object"}},
        "services": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "status": {"type": "string"},
                    "state": {},
                },
            },
        },
        "tags": {"type": "object"},
        "slots": {
            "type": "object",
            "properties": {
                name: {"type": "integer", "minimum": 0}
                for name in ("used", "available", "limit", "queue")
            },
        },
        "system": {
            "type": "object",
            "properties": {
                name: {"type": "number"} for name in ("uptime", "usedMemoryPercent", "cpuLoad")
            },
        },
        "version": {"type": "string"},
        "worker_id": {"type": "string"},
        "stuck": {"type": "integer"},
        "link": {"type": "object"},
    },
}

_SWITCHED: JsonObject = {
    "type": "object",
    "properties": {"status": _STATUS, "message": {"type": "string"}},
}

OTHER_PATHS: JsonObject = {
    "/health": {
        "get": _operation(
            "Tell the status; with a key, everything about this worker",
            _answer("Always 200.", schema=_HEALTH),
            operationId="health",
            security=[_NO_KEY, *_EITHER_KEY],
        )
    },
    "/logs": {
        "get": _operation(
            "Show the last lines of the log, oldest first",
            {
                **_answer(
                    "The lines.",
                    schema={
                        "type": "object",
                        "properties": {"logs": {"type": "array", "items": {"type": "string"}}},
                    },
                ),
                **_UNAUTHORIZED,
            },
            operationId="logs",
            security=_EITHER_KEY,
            parameters=[
                _query("limit", "integer", "At most so many lines, the newest."),
                _query("level", "string", "debug, info, warn or error: this level and above."),
                _query("since", "string", "Only lines after this ISO 8601 time."),
                _query("task_id", "string", "Only lines of this task."),
                _query("follow", "string", "`sse`: go on with new lines as server-sent events."),
            ],
        )
    },
    "/off": {
        "post": _operation(
            "Take no new task; running ones finish",
            {**_answer("Maintenance is on.", schema=_SWITCHED), **_UNAUTHORIZED},
            operationId="off",
            security=_EITHER_KEY,
            parameters=[_query("wait", "number", "Answer when drained, or after so many seconds.")],
        )
    },
    "/on": {
        "post": _operation(
            "Take tasks again",
            {**_answer("Maintenance is off.", schema=_SWITCHED), **_UNAUTHORIZED},
            operationId="on",
            security=_EITHER_KEY,
        )
    },
    "/metrics": {
        "get": _operation(
            "Tell the metrics, for Prometheus",
            _answer("Prometheus' text format.", "text/plain"),
            operationId="metrics",
        )
    },
    "/openapi": {
        "get": _operation("This document", _answer("OpenAPI 3.1."), operationId="openapi")
    },
    "/docs": {
        "get": _operation(
            "Show this document in Swagger UI", _answer("A page.", "text/html"), operationId="docs"
        )
    },
    "/": {
        "get": _operation(
            "Say what this is; as a WebSocket, the slot socket of older balancers",
            _answer("A page.", "text/html"),
            operationId="home",
        )
    },
    "/link": {
        "get": _operation(
            "Open the link of a balancer (a WebSocket)",
            {"101": {"description": "The link is open."}, **_UNAUTHORIZED},
            operationId="link",
            security=_EITHER_KEY[:1],
        )
    },
}
