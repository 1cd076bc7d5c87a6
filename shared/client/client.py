"""The client of a fleet: submits tasks in all three modes and asks how they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlencode, urlsplit

from shared.client.answers import JsonObject, bad_answer, decode
from shared.client.ask import Ask
from shared.client.dead import DeadLetterCalls
from shared.client.records import Json, TaskInfo, TaskPage, WorkerInfo, WorkerList
from shared.client.stream import CONTENT_TYPE, SILENCE_S, TaskStream
from shared.client.task_ask import async_preference, headers_of, task_ask
from shared.client.task_body import Webhook, input_of, webhook_of
from shared.errors import CallerError, QueueFull, TaskTimeout
from shared.ids import TaskId
from shared.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from shared.client.ask import Answer
    from shared.client.sync import SyncClient
    from shared.client.transport import Transport

DEFAULT_URL = "http://127.0.0.1:4000"
# Longer than the balancer's TASK_TIMEOUT (300 s), so that its own answer comes first.
DEFAULT_TIMEOUT_S = 330.0
# How much longer than a task's own deadline its answer may take to arrive.
DEADLINE_MARGIN_S = 10.0
LONG_POLL_S = 30.0  # what `wait` asks the server to wait; below the time-outs of proxies
POLL = Backoff(base_s=0.05, cap_s=2.0, jitter=False)


class Client(DeadLetterCalls):
    """Calls the functions of a fleet; `async with Client(key=…) as client`.

    One client serves many calls at once and keeps their connections; it belongs to the event loop
    that it is first used on. Every method raises errors of the one tree, `cabrank.CabrankError`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        group: str | None = None,
        contract: int = 1,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = 3,
        worker_key: str | None = None,
    ) -> None:
        """Make a client; it connects with its first request.

        Args:
            url: the balancer, or a single worker.
            key: its LB_AUTH_KEY (a worker's AUTH_KEY).
            group: group of the functions that are called; None when only one group hosts them.
            contract: version of the group's interface.
            timeout_s: limit of one request, its repetitions included; of a stream, until it begins.
            retries: how often a request is repeated that the server has certainly not taken on: the
                connection was refused, or the answer was 429 or 503. `Retry-After` is honoured.
            worker_key: key for workers that speak plain HTTP, when workers.json does not have it.

        Raises:
            CallerError: the URL is none.
        """
        self._url = _checked_url(url)
        self._group = group
        self._contract = contract
        self._timeout_s = timeout_s
        self._retries = retries
        self._headers = {"Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        if worker_key is not None:
            self._headers["x-wr-auth"] = worker_key
        self._transport: Transport | None = None

    @classmethod
    def sync(
        cls,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        group: str | None = None,
        contract: int = 1,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = 3,
        worker_key: str | None = None,
    ) -> SyncClient:
        """Return a client with the same methods that wait instead of being awaited."""
        from shared.client.sync import SyncClient

        return SyncClient(
            cls(
                url,
                key=key,
                group=group,
                contract=contract,
                timeout_s=timeout_s,
                retries=retries,
                worker_key=worker_key,
            )
        )

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close every connection; calls that still wait fail."""
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def call(
        self,
        function: str,
        /,
        *,
        input: Mapping[str, Json] | None = None,
        group: str | None = None,
        contract: int | None = None,
        priority: float | None = None,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        max_attempts: int | None = None,
        retry_on: Sequence[str] | None = None,
        metadata: Json = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
        **params: Json,
    ) -> Json:
        """Run a function and return what it returned.

        Args:
            function: its name.
            input: its parameters, when one of them has the name of an argument of this method.
            group: instead of the client's.
            contract: instead of the client's.
            priority: 1 (first) to 2097152.
            timeout_s: limit of one run.
            deadline_s: limit of the whole call, waiting for a slot included.
            max_attempts: attempts in all.
            retry_on: codes after which another attempt follows; None for those that it may cure.
            metadata: any JSON value, kept with the task.
            correlation_id: ties together the log lines of one request across processes.
            idempotency_key: a name for what is asked for. The same one again, within a day, is the
                same task: it is joined, or its answer comes again. It goes on when its caller leaves.
            **params: its parameters.

        Raises:
            CabrankError: the error that the server told, or why there is no answer.
        """
        options = self._options(
            group, contract, priority=priority, timeout_s=timeout_s, deadline_s=deadline_s,
            max_attempts=max_attempts, metadata=metadata, retry_on=retry_on,
        )  # fmt: skip
        task: JsonObject = {"function": function, "input": input_of(input, params), **options}
        headers = headers_of(correlation_id, idempotency_key)
        ask = task_ask(task, headers, limit_s=self._limit_s(deadline_s))
        answer = await self._send(ask)
        return decode(answer.body, JsonObject).get("result")

    def stream(
        self,
        function: str,
        /,
        *,
        input: Mapping[str, Json] | None = None,
        group: str | None = None,
        contract: int | None = None,
        priority: float | None = None,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        max_attempts: int | None = None,
        retry_on: Sequence[str] | None = None,
        metadata: Json = None,
        correlation_id: str | None = None,
        **params: Json,
    ) -> TaskStream:
        """Run a function and return its pieces as they come; arguments as for `call`.

        The task is submitted when the iteration begins; leaving it before its end cancels the task.

        Raises:
            CabrankError: out of the iteration, before the first piece or after any.
        """
        options = self._options(
            group, contract, priority=priority, timeout_s=timeout_s, deadline_s=deadline_s,
            max_attempts=max_attempts, metadata=metadata, retry_on=retry_on,
        )  # fmt: skip
        task: JsonObject = {
            "function": function, "input": input_of(input, params), "mode": "stream", **options,
        }  # fmt: skip
        headers = {"Accept": CONTENT_TYPE, **headers_of(correlation_id)}
        limit_s = self._limit_s(deadline_s)
        return TaskStream(
            self._opened, task_ask(task, headers, limit_s=limit_s, silence_s=SILENCE_S)
        )

    async def submit(
        self,
        function: str,
        /,
        *,
        webhook: str | Webhook | None = None,
        input: Mapping[str, Json] | None = None,
        group: str | None = None,
        contract: int | None = None,
        priority: float | None = None,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        max_attempts: int | None = None,
        retry_on: Sequence[str] | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
        wait: float = 0,
        metadata: Json = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
        **params: Json,
    ) -> TaskId:
        """Hand a durable task over and return its id; other arguments as for `call`.

        Args:
            function: its name.
            webhook: URL that gets the result, or a whole target. Without one the result is kept
                for `wait` and `status`.
            delay_s: seconds until it may start.
            run_at: instead, the moment at which it may; with its time zone.
            wait: seconds that the server may wait for the end before it answers. A failure that comes
                in time is raised here.

        Raises:
            CabrankError: the task was not accepted. When the code is `store_unavailable` or
                `connection_lost` it may have been all the same: look for it in `tasks`, or submit it
                with an `idempotency_key`, by which it is not done twice.
        """
        options = self._options(
            group, contract, priority=priority, timeout_s=timeout_s, deadline_s=deadline_s,
            max_attempts=max_attempts, metadata=metadata, retry_on=retry_on,
        )  # fmt: skip
        options |= {"delay_s": delay_s, "run_at": run_at and run_at.isoformat()}
        task: JsonObject = {"function": function, "input": input_of(input, params), **options}
        if webhook is not None:
            task |= {"mode": "webhook", "webhook": webhook_of(webhook)}
        prefer = async_preference(wait) if webhook is None else None
        headers = headers_of(correlation_id, idempotency_key, prefer)
        ask = task_ask(task, headers, limit_s=self._timeout_s + wait, may_be_taken=True)
        return _id_in((await self._send(ask)).body)

    async def status(self, task_id: str, *, wait: float = 0) -> TaskInfo:
        """Return what is known about a task.

        Args:
            task_id: its id.
            wait: seconds, 60 at most, that the server may wait for the end before it answers.

        Raises:
            NotFound: no such task, or it ended longer ago than results are kept.
            QueueFull: too many callers wait already.
        """
        path = f"/tasks/{quote(task_id, safe='')}" + (f"?wait={wait:.3f}" if wait > 0 else "")
        ask = Ask(method="GET", path=path, limit_s=self._timeout_s + wait)
        return decode((await self._send(ask)).body, TaskInfo)

    async def tasks(
        self,
        *,
        status: str | None = None,
        function: str | None = None,
        group: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> TaskPage:
        """Return a page of tasks, newest first; `cursor` is the `next` of the page before."""
        asked = {
            "status": status, "function": function, "group": group, "limit": limit, "cursor": cursor,
        }  # fmt: skip
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return decode(await self._get(f"/tasks?{query}"), TaskPage)

    async def wait(self, task_id: str, timeout_s: float | None = None) -> TaskInfo:
        """Return a task once it has finished; `.value()` is its result or raises its error.

        Args:
            task_id: a durable task.
            timeout_s: how long to wait; None for as long as it takes.

        Raises:
            TaskTimeout: it has not finished in that time; it goes on.
        """
        loop = asyncio.get_running_loop()
        end_s = None if timeout_s is None else loop.time() + timeout_s
        looks = 0
        while True:
            asked_s = loop.time()
            left_s = LONG_POLL_S if end_s is None else max(0.0, end_s - asked_s)
            try:
                task = await self.status(task_id, wait=min(left_s, LONG_POLL_S))
            except QueueFull:  # too many wait there; a look is always answered
                task = await self.status(task_id)
            if task.finished:
                return task
            left_s = LONG_POLL_S if end_s is None else end_s - loop.time()
            if left_s <= 0:
                error = TaskTimeout(f"Task is still {task.status} after {timeout_s:g} s")
                error.task_id = task_id
                raise error
            looks += (
                1  # a server that does not wait (it stops, it is older) is not asked all the time
            )
            pause_s = POLL.bound_s(looks) - (loop.time() - asked_s)
            await asyncio.sleep(min(max(0.0, pause_s), left_s))

    async def cancel(self, task_id: str) -> None:
        """Cancel a task; a running function is told, and its slot is free when it has ended.

        Raises:
            NotFound: no such task.
            Conflict: it has already finished.
        """
        path = f"/tasks/{quote(task_id, safe='')}/cancel"
        await self._send(Ask(method="POST", path=path, limit_s=self._timeout_s))

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers of the fleet."""
        return list(decode(await self._get("/workers"), WorkerList).workers)

    async def health(self) -> JsonObject:
        """Return the balancer's health; with a key, its workers and services too."""
        return decode(await self._get("/health"), JsonObject)

    async def _get(self, path: str) -> bytes:
        return (await self._send(Ask(method="GET", path=path, limit_s=self._timeout_s))).body

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, *, may_be_taken: bool = False
    ) -> Answer:
        ask = Ask(
            method=method, path=path, body=body, limit_s=self._timeout_s, may_be_taken=may_be_taken
        )
        return await self._send(ask)

    async def _send(self, ask: Ask) -> Answer:
        return await self._opened().request(ask)

    def _opened(self) -> Transport:
        if self._transport is None:
            from shared.client.transport import Transport

            self._transport = Transport(self._url, self._headers, self._retries)
        return self._transport

    def _limit_s(self, deadline_s: float | None) -> float:
        return self._timeout_s if deadline_s is None else deadline_s + DEADLINE_MARGIN_S

    def _options(self, group: str | None, contract: int | None, **others: Json) -> JsonObject:
        """Return the members of a task beside its function, its input and its mode."""
        return {
            "group": self._group if group is None else group,
            "contract": self._contract if contract is None else contract,
            **others,
        }


def _id_in(body: bytes) -> TaskId:
    task_id = decode(body, JsonObject).get("task_id")
    if not isinstance(task_id, str):
        raise bad_answer("the task was accepted without an id")
    return TaskId(task_id)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CallerError(f"{url!r} is no URL of a balancer; expected http://host:port")
    return url.rstrip("/")
