"""What every answer must keep, whatever was asked: the contract's error bodies, no secret, the documents' truth."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Protocol, cast

import msgpack
from jsonschema import Draft202012Validator

from shared.errors import CODES
from tests.fuzz.openapi_cases import MSGPACK, JsonObject
from tests.fuzz.openapi_fleet import KEYS

_CODE = re.compile(r"`(\w+)`")
_MEMBERS = {"success", "error", "code", "task_id", "error_type", "details"}
# Of a webhook's headers the document cannot say which names are refused, nor how many bytes they may have.
# Nor which days there are, that only a durable task starts later, and that a stream has no key.
_UNDOCUMENTED = (
    "Invalid webhook.headers:", "Invalid run_at:", "Invalid delay_s or run_at:",
    "Invalid Idempotency-Key: ",  # the verdict is about bodies
)  # fmt: skip


class Document:
    """One process's OpenAPI document.

    Args:
        process: worker or balancer.
        content: the document.
    """

    def __init__(self, process: str, content: JsonObject) -> None:
        self.process = process
        self.content = content
        body = _at(content, "paths", "/task", "post", "requestBody", "content")
        schema = _at(body, "application/json", "schema")
        whole = {**schema, "components": content["components"]}
        Draft202012Validator.check_schema(whole)
        self._task = cast("_Checker", Draft202012Validator(whole))

    def codes(self, path: str, method: str) -> dict[int, set[str]]:
        """Return the codes that an operation documents, by status."""
        responses = _at(self.content, "paths", path, method.lower(), "responses")
        return {
            int(status): set(_CODE.findall(str(cast("JsonObject", response)["description"])))
            for status, response in responses.items()
        }

    def allows(self, task: object) -> bool:
        """Tell whether a body is one of `POST /task`, as a process reads it."""
        return self._task.is_valid(self._as_read(task))

    def _as_read(self, task: object) -> object:
        """Leave out what the contract says that nobody looks at."""
        if not isinstance(task, dict):
            return task
        read = dict(cast("JsonObject", task))
        if self.process == "worker" or read.get("group") == "":
            read.pop("group", None)
        if read.get("mode", "sync") != "webhook":
            read.pop("webhook", None)
        return read


class _Checker(Protocol):
    """The part of a validator that is used here; the library's types know only some JSON."""

    def is_valid(self, instance: object) -> bool:
        """Tell whether a value fits."""
        ...


def _at(node: JsonObject, *steps: str) -> JsonObject:
    for step in steps:
        node = cast("JsonObject", node[step])
    return node


def read_value(content_type: str, body: bytes) -> object:
    """Return what a body says, JSON or msgpack; None when it is neither."""
    try:
        if content_type.startswith(MSGPACK):
            return cast("object", msgpack.unpackb(body, strict_map_key=False))
        return cast("object", json.loads(body))
    except (ValueError, RecursionError, msgpack.UnpackException):
        return None


def check_secrets(content: bytes, headers: Iterable[str], *, logs: bool) -> None:
    """Fail when an answer gives away a key, or how the code failed (a log may tell that, to who has the key)."""
    shown = content + "\n".join(headers).encode()
    for key in KEYS.values():
        assert key.encode() not in shown, "a key is in the answer"
    assert logs or b"Traceback (most recent call last)" not in shown, "a traceback is in the answer"


def check_failure(
    status: int, content_type: str, content: bytes, documented: Mapping[int, set[str]]
) -> str:
    """Fail unless an answer of 4xx or 5xx is the contract's; return its code.

    Args:
        status, content_type, content: the answer.
        documented: codes by status that this operation may answer with.
    """
    value = read_value(content_type, content)
    assert isinstance(value, dict), f"{status} has no object: {content[:300]!r}"
    body = cast("JsonObject", value)
    code = body.get("code")
    assert body.get("success") is False, body
    assert isinstance(body.get("error"), str), body
    assert isinstance(code, str), body
    assert code in CODES, f"{code} is not in the table"
    assert CODES[code].status == status, f"{code} came with {status}"
    assert body.keys() <= _MEMBERS, body
    assert code in documented.get(status, ()), f"{status} {code} is not documented here"
    return code


def check_verdict(document: Document, task: object, status: int, answer: object) -> None:
    """Fail when a process takes what its document refuses, or refuses what its document allows."""
    allowed = document.allows(task)
    if status < 300:
        assert allowed, f"taken against the document: {task!r}"
    elif status == 400 and allowed:
        error = str(cast("JsonObject", answer).get("error"))
        assert error.startswith(_UNDOCUMENTED), f"refused against the document: {task!r}"
