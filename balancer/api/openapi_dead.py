"""OpenAPI of the routes of dead letters."""

from __future__ import annotations

from balancer.api.dead_query import LARGEST_PAGE, MAX_CURSOR, MOST_REPLAYED, PAGE, REPLAYED
from shared.dead_letter import DeadKind
from shared.edge.openapi import JsonObject, answer, errors, operation, query, ref
from shared.task_state import TaskStatus

_TEXT: JsonObject = {"type": "string"}
_COUNT: JsonObject = {"type": "integer", "minimum": 0}
_KINDS = [str(kind) for kind in DeadKind]
_MEANING = {
    "kind": "Only letters of this kind.",
    "function": "Only letters of this function.",
    "group": "Only letters of this group.",
    "code": "Only letters with this code.",
    "since": "Only letters given up at this ISO 8601 time or later.",
    "before": "Only letters given up before this ISO 8601 time.",
}
_SCHEMAS: dict[str, JsonObject] = {
    "kind": {"type": "string", "enum": _KINDS},
    "function": _TEXT,
    "group": _TEXT,
    "code": _TEXT,
    "since": {"type": "string", "format": "date-time"},
    "before": {"type": "string", "format": "date-time"},
}
_QUERY: list[JsonObject] = [
    {"name": name, "in": "query", "schema": schema, "description": _MEANING[name]}
    for name, schema in _SCHEMAS.items()
]
_LETTER_ID: JsonObject = {
    "name": "id", "in": "path", "required": True, "schema": _TEXT,
    "description": "Of the task, or of the webhook.",
}  # fmt: skip
_TASK_ID: JsonObject = {"name": "id", "in": "path", "required": True, "schema": _TEXT}

DEAD_SCHEMAS: JsonObject = {
    "DeadLetter": {
        "type": "object",
        "required": ["id", "kind", "code", "died_at", "task_id", "group", "function", "contract"],
        "properties": {
            "id": {**_TEXT, "description": "The task's id, or the webhook's."},
            "kind": {"enum": _KINDS},
            "code": _TEXT,
            "error": {"type": ["string", "null"]},
            "died_at": {"type": "string", "format": "date-time"},
            "task_id": _TEXT,
            "group": _TEXT,
            "function": _TEXT,
            "contract": {"type": "integer"},
            "status": {"enum": [str(status) for status in TaskStatus]},
            "webhook": {
                "type": "object",
                "properties": {
                    "host": _TEXT, "attempts": _COUNT, "error": _TEXT, "outcome": _TEXT,
                },
            },
            "task": ref("TaskRecord"),
        },
    },
    "DeadFilter": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{
                name: {"anyOf": [schema, {"type": "null"}], "description": _MEANING[name]}
                for name, schema in _SCHEMAS.items()
            },
            "limit": {
                "type": ["integer", "null"], "minimum": 1, "maximum": MOST_REPLAYED,
                "default": REPLAYED,
            },
        },
    },
}  # fmt: skip

_LETTERS: JsonObject = {
    "type": "object",
    "required": ["dead", "next", "counts"],
    "properties": {
        "dead": {"type": "array", "items": ref("DeadLetter")},
        "next": {"type": ["string", "null"]},
        "counts": {"type": "object", "properties": dict.fromkeys(_KINDS, _COUNT)},
    },
}
_PURGED: JsonObject = {
    "type": "object",
    "required": ["success", "purged"],
    "properties": {"success": {"const": True}, "purged": _COUNT},
}
_REPLAYED_MANY: JsonObject = {
    "type": "object",
    "required": ["success", "replayed", "more"],
    "properties": {
        "success": {"const": True},
        "replayed": _COUNT,
        "more": {"type": "boolean", "description": "Others match as well."},
    },
}
_REPLAYED: JsonObject = {
    "type": "object",
    "required": ["success", "kind", "task_id"],
    "properties": {
        "success": {"const": True},
        "kind": {"enum": _KINDS},
        "task_id": {**_TEXT, "description": "The task that runs, or whose webhook is sent again."},
        "replay_of": {**_TEXT, "description": "Of a task: the dead one."},
        "webhook_id": {**_TEXT, "description": "Of a webhook: its id, which stays the same."},
    },
}
_RELEASED: JsonObject = {
    "type": "object",
    "required": ["success", "task_id", "status"],
    "properties": {"success": {"const": True}, "task_id": _TEXT, "status": {"const": "queued"}},
}


def _accepted() -> JsonObject:
    done = answer("", schema=_REPLAYED)["200"]
    assert isinstance(done, dict)
    return {
        "202": {
            **done,
            "description": "Committed to the store; the letter is gone.",
            "headers": {"Location": {"schema": _TEXT, "description": "/tasks/{id}"}},
        }
    }


DEAD_PATHS: JsonObject = {
    "/dead": {
        "get": operation(
            "List dead letters, newest first",
            {
                **answer("A page, and how many there are of each kind.", schema=_LETTERS),
                **errors(["unauthorized", "invalid_field", "store_unavailable"]),
            },
            operationId="listDead",
            parameters=[
                *_QUERY,
                query("limit", "integer", "Letters on a page.", minimum=1, maximum=LARGEST_PAGE, default=PAGE),
                query("cursor", "string", "The `next` of the page before.", maxLength=MAX_CURSOR),
            ],
        ),
        "delete": operation(
            "Forget the dead letters that a filter chooses; quarantined tasks have failed for good",
            {
                **answer("How many.", schema=_PURGED),
                **errors(["unauthorized", "invalid_field", "store_unavailable"]),
            },
            operationId="purgeDead",
            parameters=[
                *_QUERY,
                query("all", "string", "Needed without any other parameter.", enum=["true", "false"]),
            ],
        ),
    },
    "/dead/replay": {
        "post": operation(
            "Replay the dead letters that a filter chooses, the newest ones first",
            {
                **answer("How many.", schema=_REPLAYED_MANY),
                **errors(
                    [
                        "unauthorized", "body_too_large", "bad_request", "request_timeout", "invalid_json",
                        "invalid_field", "queue_full", "store_unavailable",
                    ]
                ),
            },
            operationId="replayDead",
            requestBody={"content": {"application/json": {"schema": ref("DeadFilter")}}},
        )
    },
    "/dead/{id}": {
        "get": operation(
            "Show a dead letter with the whole story of its task",
            {
                **answer("The letter.", schema=ref("DeadLetter")),
                **errors(["unauthorized", "dead_letter_not_found", "store_unavailable"]),
            },
            operationId="getDead",
            parameters=[_LETTER_ID],
        ),
        "delete": operation(
            "Forget a dead letter; a quarantined task has failed for good",
            {
                **answer("It is gone.", schema=_PURGED),
                **errors(["unauthorized", "dead_letter_not_found", "store_unavailable"]),
            },
            operationId="purgeOneDead",
            parameters=[_LETTER_ID],
        ),
    },
    "/dead/{id}/replay": {
        "post": operation(
            "Run a failed task again as a new one, send a webhook again, or release a quarantined task",
            {
                **_accepted(),
                **errors(["unauthorized", "dead_letter_not_found", "queue_full", "store_unavailable"]),
            },
            operationId="replayOneDead",
            parameters=[_LETTER_ID],
        )
    },
    "/tasks/{id}/release": {
        "post": operation(
            "Send a quarantined task back to its queue",
            {
                **answer("Released.", schema=_RELEASED),
                **errors(["unauthorized", "task_not_found", "not_quarantined", "store_unavailable"]),
            },
            operationId="releaseTask",
            parameters=[_TASK_ID],
        )
    },
}  # fmt: skip
