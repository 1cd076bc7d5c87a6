"""Sends what schemathesis makes up, within bounds that keep a call short, and looks at the answer."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, cast

import requests

from shared.edge.limits import MAX_ATTEMPTS, MAX_LINE
from tests.fuzz.openapi_cases import MSGPACK, SHOWN, TAKEN, Case, Cases, JsonObject, Response, check
from tests.fuzz.openapi_fleet import KEYS, TASK_TIMEOUT_MS, Fleet
from tests.fuzz.openapi_rules import (
    Document,
    check_failure,
    check_secrets,
    check_verdict,
    read_value,
)
from worker.api.maintenance import MAX_WAIT_S

HANG_S = 20.0  # no call takes so long, whatever else the machine does
TASK_S = TASK_TIMEOUT_MS / 1000
WAIT_S = 0.02  # for a drain that does not come: one of the kept tasks runs
FEW_ATTEMPTS = 2
ACCEPTS = (
    "", "*/*", "application/json", MSGPACK, "application/x-msgpack;q=0.5, text/html",
    "text/event-stream", "application/x-ndjson", "text/plain", "é;q=x,,;=",
)  # fmt: skip
PREFERS = ("", "respond-async", "wait=1, respond-async;x", "ünknown")


class Manner(NamedTuple):
    """How a case is sent, beside what schemathesis knows of."""

    accept: str = ""
    prefer: str = ""
    live_id: bool = False  # of a task or worker that there is

    @classmethod
    def any(cls, chance: random.Random) -> Manner:
        """Draw one."""
        return cls(chance.choice(ACCEPTS), chance.choice(PREFERS), chance.random() < 0.5)


class Target:
    """One process under test, and a client for it.

    Args:
        process: worker or balancer.
        fleet: it belongs to this one.
        session: of the client.
    """

    def __init__(self, process: str, fleet: Fleet, session: requests.Session) -> None:
        self._key = {"Authorization": KEYS[process]}
        self._session = session
        self._url = fleet.urls[process]
        self._fleet = fleet
        content = cast("JsonObject", self.ask("GET", "/openapi").json())
        self.document = Document(process, content)
        self.cases = Cases(content)
        self._ids = {"workers": [fleet.urls["worker"].removeprefix("http://")]}

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str | bytes] | None = None,
        body: JsonObject | None = None,
    ) -> requests.Response:
        """Send a request of the test's own, with the key unless it has headers."""
        return self._session.request(
            method, self._url + path, timeout=HANG_S,
            data=None if body is None else json.dumps(body),
            headers=self._key if headers is None else headers,
        )  # fmt: skip

    def keep_tasks(self) -> None:
        """Have a balancer hold a task of each kind, for the routes that take an id."""
        kinds: list[JsonObject] = [
            {"function": "hello"},
            {"function": "fail"},
            {"function": "slow", "input": {"seconds": 60}},
        ]
        durable = {**self._key, "Prefer": "respond-async"}
        answers = [
            self.ask("POST", "/task", headers=durable, body={"contract": 1, **kind})
            for kind in kinds
        ]
        self._ids["tasks"] = [str(answer.json()["task_id"]) for answer in answers]
        self._ids["dead"] = self._ids["tasks"]  # one of them fails

    def end_maintenance(self) -> None:
        """Let the worker take tasks again, whoever stopped it."""
        path = f"/workers/{self._ids['workers'][0]}/on" if "tasks" in self._ids else "/on"
        assert self.ask("POST", path).status_code == 200

    def call(self, case: Case, manner: Manner, chance: random.Random) -> None:
        """Send a case and check its answer."""
        self._bound(case)
        if manner.live_id and "id" in case.path_parameters:
            kind = case.operation.path.split("/")[1]
            case.path_parameters["id"] = chance.choice(self._ids[kind])
        headers = dict(self._key)
        headers |= {"Accept": manner.accept} if manner.accept else {}
        headers |= {"Prefer": manner.prefer} if manner.prefer else {}
        encoded = {name: value.encode() for name, value in headers.items()}
        try:
            response = case.call(self._url, self._session, encoded, timeout=HANG_S)
        except OverflowError:
            return  # msgpack has no integers of more than 64 bits
        except requests.exceptions.ChunkedEncodingError:
            # A plain text that ends by an error after its first piece is broken off, to be seen as such.
            assert cast("JsonObject", case.body)["mode"] == "stream"
            return
        try:
            self._check(case, response)
        except AssertionError as wrong:
            wrong.add_note(case.as_curl_command(headers))
            raise

    def _bound(self, case: Case) -> None:
        """Keep the call short, and its webhook here."""
        for name in ("Authorization", "x-lb-auth"):  # who may call is tested by itself
            case.headers.pop(name, None)
        if case.query.get("follow") == "sse":
            del case.query["follow"]  # has no end
        with suppress(ValueError, TypeError):
            if float(cast("str", case.query.get("wait"))) <= MAX_WAIT_S:
                case.query["wait"] = WAIT_S
        body = case.body
        if isinstance(body, dict) and case.operation.path == "/task":
            _bound_task(cast("JsonObject", body), self._fleet.hook)

    def _check(self, case: Case, response: Response) -> None:
        operation, status = case.operation, response.status_code
        shown = [value for values in response.headers.values() for value in values]
        check_secrets(response.content, shown, logs=operation.path == "/logs")
        assert response.headers.get("x-correlation-id"), "the answer has no correlation id"
        kind = response.headers.get("content-type", [""])[0]
        if status == 405:
            assert case.method.lower() != operation.method
            assert operation.method.upper() in response.headers["allow"][0]
            check_failure(status, kind, response.content, {405: {"method_not_allowed"}})
            return
        if status == 431:  # of HTTP, and so of every route
            assert len(response.request.url or "") > MAX_LINE
            check_failure(status, kind, response.content, {431: {"headers_too_large"}})
            return
        code = ""
        if status >= 400:
            documented = self.document.codes(operation.path, operation.method)
            code = check_failure(status, kind, response.content, documented)
        check(case, response, SHOWN)
        if operation.path == "/task":
            answer = read_value(kind, response.content)
            check_verdict(self.document, _sent_value(response.request), status, answer)
        elif code != "invalid_field" or not _beyond_schema(case):
            check(case, response, TAKEN)


def _beyond_schema(case: Case) -> bool:
    """Tell whether a query may be refused for a reason that no schema can give."""
    if "cursor" in case.query:  # any text but ours is refused
        return True
    purges = case.operation.path == "/dead" and case.operation.method == "delete"
    return purges and not case.query.keys() - {"all"}  # purging everything must be said


def _sent_value(sent: requests.PreparedRequest) -> object:
    """Return what a body says, as the processes read it: all but msgpack is JSON."""
    given = str(sent.headers.get("Content-Type", ""))
    kind = MSGPACK if "msgpack" in given.lower() else "application/json"
    body = sent.body or b""
    assert isinstance(body, (bytes, str))
    return read_value(kind, body.encode() if isinstance(body, str) else body)


def _bound_task(task: JsonObject, hook: str) -> None:
    for name in ("timeout_s", "deadline_s"):
        value = task.get(name)
        if value is None or _is_number(value, above=TASK_S):
            task[name] = TASK_S
    attempts = task.get("max_attempts")
    if _is_number(attempts, above=FEW_ATTEMPTS) and not _is_number(attempts, above=MAX_ATTEMPTS):
        task["max_attempts"] = FEW_ATTEMPTS
    if isinstance(task.get("webhook"), dict):
        target = cast("JsonObject", task["webhook"])
        if str(target.get("url")).lower().startswith(("http://", "https://")):
            target["url"] = hook


def _is_number(value: object, *, above: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > above
