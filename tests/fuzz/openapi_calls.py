"""Sends what schemathesis makes up, within bounds that keep a call short, and looks at the answer."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast

import msgpack
import requests
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shared.edge.limits import MAX_LINE
from tests.fuzz.openapi_fleet import KEYS, TASK_TIMEOUT_MS, Fleet
from tests.fuzz.openapi_rules import (
    MSGPACK,
    Document,
    JsonObject,
    check_failure,
    check_secrets,
    check_verdict,
    read_value,
)
from worker.api.maintenance import MAX_WAIT_S

if TYPE_CHECKING:
    from schemathesis import (
        BaseSchema,
        Case,
        DeserializationContext,
        Response,
        SerializationContext,
    )

HANG_S = 20.0  # no call takes so long, whatever else the machine does
TASK_S = TASK_TIMEOUT_MS / 1000
WAIT_S = 0.02  # for a drain that does not come: one of the kept tasks runs
FEW_ATTEMPTS = 2
SHOWN = (content_type_conformance, response_headers_conformance, response_schema_conformance)
ACCEPTS = (
    "", "*/*", "application/json", MSGPACK, "application/x-msgpack;q=0.5, text/html",
    "text/event-stream", "application/x-ndjson", "text/plain", "é;q=x,,;=",
)  # fmt: skip
PREFERS = ("", "respond-async", "wait=1, respond-async;x", "ünknown")


class Manner(NamedTuple):
    """How a case is sent, beside what schemathesis knows of."""

    accept: str = ""
    prefer: str = ""
    live_id: bool = False

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
        self.process = process
        self.key = {"Authorization": KEYS[process]}
        self.session = session
        self._url = fleet.urls[process]
        self._fleet = fleet
        content = self.ask("GET", "/openapi").json()
        self.document = Document(process, content)
        self.schema: BaseSchema = schemathesis.openapi.from_dict(content)
        self._ids = {"tasks": ["none"], "workers": [fleet.urls["worker"].removeprefix("http://")]}

    def ask(self, method: str, path: str, **more: object) -> requests.Response:
        """Send a request of the test's own."""
        return self.session.request(
            method, self._url + path, timeout=HANG_S, **{"headers": self.key, **more}
        )  # pyright: ignore[reportArgumentType]

    def keep_tasks(self) -> None:
        """Have a balancer hold a task of each kind, for the routes that take an id."""
        given = ({"function": "hello"}, {"function": "fail"}, {"function": "slow", "input": {"seconds": 60}})
        answers = [
            self.ask(
                "POST", "/task", json={"contract": 1, **task},
                headers={**self.key, "Prefer": "respond-async"},
            )
            for task in given
        ]  # fmt: skip
        self._ids["tasks"] = [str(answer.json()["task_id"]) for answer in answers]

    def end_maintenance(self) -> None:
        """Let the worker take tasks again, whoever stopped it."""
        path = f"/workers/{self._ids['workers'][0]}/on" if self.process == "balancer" else "/on"
        assert self.ask("POST", path).status_code == 200

    def call(self, case: Case, manner: Manner, chance: random.Random) -> None:
        """Send a case and check its answer."""
        self._bound(case)
        if manner.live_id and "id" in case.path_parameters:
            kind = case.operation.path.split("/")[1]
            case.path_parameters["id"] = chance.choice(self._ids[kind])
        headers = dict(self.key)
        headers |= {"Accept": manner.accept} if manner.accept else {}
        headers |= {"Prefer": manner.prefer} if manner.prefer else {}
        try:
            response = case.call(
                self._url, self.session,
                {name: value.encode() for name, value in headers.items()}, timeout=HANG_S,
            )  # fmt: skip
        except OverflowError:
            return  # msgpack has no integers of more than 64 bits
        except requests.exceptions.ChunkedEncodingError:
            # A plain text that ends by an error after its first piece is broken off, to be seen as such.
            assert isinstance(case.body, dict)
            assert cast("JsonObject", case.body)["mode"] == "stream"
            return
        try:
            self._check(case, response)
        except AssertionError as wrong:
            wrong.add_note(case.as_curl_command(headers=headers))
            raise

    def _bound(self, case: Case) -> None:
        """Keep the call short, and its webhook here."""
        for name in ("Authorization", "x-lb-auth"):  # who may call is tested by itself
            case.headers.pop(name, None)
        query = cast("JsonObject", case.query)
        if query.get("follow") == "sse":
            del query["follow"]  # has no end
        with suppress(ValueError, TypeError):
            if float(cast("str", query.get("wait"))) <= MAX_WAIT_S:
                query["wait"] = WAIT_S
        if isinstance(case.body, dict):
            _bound_task(cast("JsonObject", case.body), self._fleet.hook)

    def _check(self, case: Case, response: Response) -> None:
        operation = case.operation
        status, content = response.status_code, response.content
        shown = [value for values in response.headers.values() for value in values]
        check_secrets(content, shown, logs=operation.path == "/logs")
        assert response.headers.get("x-correlation-id"), "the answer has no correlation id"
        kind = response.headers.get("content-type", [""])[0]
        if status == 405:
            assert case.method.lower() != operation.method
            assert operation.method.upper() in response.headers["allow"][0]
            check_failure(status, kind, content, {405: {"method_not_allowed"}})
            return
        if status == 431:  # of HTTP, and so of every route
            assert len(cast("str", response.request.url)) > MAX_LINE
            check_failure(status, kind, content, {431: {"headers_too_large"}})
            return
        code = ""
        if status >= 400:
            documented = self.document.codes(operation.path, operation.method)
            code = check_failure(status, kind, content, documented)
        case.validate_response(response, checks=[status_code_conformance, *SHOWN])
        if operation.path == "/task":
            sent = cast("requests.PreparedRequest", response.request)
            task = read_value(_sent_kind(sent), cast("bytes", sent.body or b""))
            check_verdict(self.document, task, status, read_value(kind, content))
        elif code != "invalid_field" or "cursor" not in case.query:
            case.validate_response(
                response, checks=[positive_data_acceptance, negative_data_rejection]
            )


def _sent_kind(sent: requests.PreparedRequest) -> str:
    """Return the media type as the processes take it: all but msgpack is read as JSON."""
    given = sent.headers.get("Content-Type", "")
    return MSGPACK if "msgpack" in given.lower() else "application/json"


def _bound_task(task: JsonObject, hook: str) -> None:
    for name in ("timeout_s", "deadline_s"):
        value = task.get(name)
        if value is None or (type(value) in (int, float) and cast("float", value) > TASK_S):
            task[name] = TASK_S
    attempts = task.get("max_attempts")
    if type(attempts) in (int, float) and FEW_ATTEMPTS < cast("float", attempts) <= 1000:
        task["max_attempts"] = FEW_ATTEMPTS
    webhook = task.get("webhook")
    if isinstance(webhook, dict):
        target = cast("JsonObject", webhook)
        if str(target.get("url")).lower().startswith(("http://", "https://")):
            target["url"] = hook


@schemathesis.serializer(MSGPACK)
def _packed(context: SerializationContext, value: object) -> bytes:
    del context
    return cast("bytes", msgpack.packb(value))


@schemathesis.deserializer(MSGPACK)
def _unpacked(context: DeserializationContext, response: Response) -> object:
    del context
    return read_value(MSGPACK, response.content)
