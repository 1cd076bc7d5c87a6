"""OpenAPI of the worker's routes other than `POST /task`: they are the same on every worker."""

from __future__ import annotations

from shared.edge.openapi import LOG_LINES, LOG_QUERY, JsonObject, answer, errors, operation, query
from worker.api.maintenance import MAX_WAIT_S

_UNAUTHORIZED = errors(["unauthorized"])
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
    "properties": {
        "status": _STATUS,
        "message": {"type": "string"},
        "drained": {"type": "boolean", "description": "Told when `wait` was asked for."},
    },
}

OTHER_PATHS: JsonObject = {
    "/health": {
        "get": operation(
            "Tell the status; with a key, everything about this worker",
            answer("Always 200.", schema=_HEALTH),
            operationId="health",
            security=[_NO_KEY, *_EITHER_KEY],
        )
    },
    "/logs": {
        "get": operation(
            "Show the last lines of the log, oldest first",
            LOG_LINES,
            operationId="logs",
            security=_EITHER_KEY,
            parameters=LOG_QUERY,
        )
    },
    "/off": {
        "post": operation(
            "Take no new task; running ones finish",
            {
                **answer("Maintenance is on.", schema=_SWITCHED),
                **errors(["unauthorized", "invalid_field"]),
            },
            operationId="off",
            security=_EITHER_KEY,
            parameters=[
                query(
                    "wait",
                    "number",
                    "Answer when drained, or after so many seconds.",
                    minimum=0,
                    maximum=MAX_WAIT_S,
                )
            ],
        )
    },
    "/on": {
        "post": operation(
            "Take tasks again",
            {**answer("Maintenance is off.", schema=_SWITCHED), **_UNAUTHORIZED},
            operationId="on",
            security=_EITHER_KEY,
        )
    },
    "/metrics": {
        "get": operation(
            "Tell the metrics, for Prometheus",
            answer("Prometheus' text format.", "text/plain"),
            operationId="metrics",
        )
    },
    "/openapi": {
        "get": operation(
            "This document", answer("OpenAPI 3.1.", "application/json"), operationId="openapi"
        )
    },
    "/docs": {
        "get": operation(
            "Show this document in Swagger UI", answer("A page.", "text/html"), operationId="docs"
        )
    },
    "/": {
        "get": operation(
            "Say what this is; as a WebSocket, the slot socket of older balancers",
            answer("A page.", "text/html"),
            operationId="home",
        )
    },
    "/link": {
        "get": operation(
            "Open the link of a balancer (a WebSocket)",
            {
                "101": {"description": "The link is open."},
                **errors(["unauthorized", "bad_request", "shutting_down"]),
            },
            operationId="link",
            security=_EITHER_KEY[:1],
        )
    },
}
