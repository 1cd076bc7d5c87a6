"""What a worker runs beside its tasks: keeps services up and tags fresh.

    starting ──start() returns──▶ ready ──status() is False or raises──▶ down
        ▲                                                                  │
        └──────────────── after a growing wait, on a new object ◀──────────┘

While a service is not ready the worker gives no slot (contract §4). Every call of an author's code
has a time limit, so that one that hangs is down, not undecided.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import msgspec
from pydantic_core import PydanticSerializationError, to_jsonable_python

from shared.log import Log
from shared.retry import Backoff
from worker.facts import ServiceState
from worker.outcome import message_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from shared.clock import Chance
    from worker.authoring.background import Service, ServiceDefinition, TagSource
    from worker.facts import WorkerFacts

_log = Log("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often services are waited for.

    Attributes:
        check_s: between two calls of `status`.
        start_s: what `start` may take.
        status_s: what `status` may take.
        stop_s: what `stop` may take.
        tags_s: what a source of tags may take.
        backoff: between two starts.
    """

    check_s: float = 1.0
    start_s: float = 60.0
    status_s: float = 5.0
    stop_s: float = 10.0
    tags_s: float = 10.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_s=0.5, cap_s=30.0))


class ServiceSupervisor:
    """Starts services, looks after them, and starts them again when they are down.

    Args:
        definitions: the services.
        facts: shows their states.
        set_down: is told whether any of them is not ready.
        chance: jitter of the waits.
        patience: how long to wait for what.
    """

    def __init__(
        self,
        definitions: Iterable[ServiceDefinition],
        facts: WorkerFacts,
        set_down: Callable[[bool], None],
        chance: Chance,
        patience: Patience | None = None,
    ) -> None:
        self._definitions = sorted(definitions, key=lambda each: each.name)
        self._facts = facts
        self._set_down = set_down
        self._chance = chance
        self._patience = patience or Patience()
        self._states = {
            each.name: ServiceState(name=each.name, status="starting", state=None)
            for each in self._definitions
        }
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start every service, without waiting for them."""
        self._publish()
        self._tasks = [
            asyncio.get_running_loop().create_task(
                self._supervise(each), name=f"service-{each.name}"
            )
            for each in self._definitions
        ]

    async def close(self) -> None:
        """Stop every service and wait for that."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _supervise(self, definition: ServiceDefinition) -> None:
        failures = 0
        while True:
            if await self._run_once(definition):
                failures = 0
            failures += 1
            await asyncio.sleep(self._patience.backoff.wait_s(failures, self._chance))
            self._show(definition, "starting", None)

    async def _run_once(self, definition: ServiceDefinition) -> bool:
        """Run a service from its start until it is down; tell whether it was ever ready."""
        was_ready = False
        service: Service | None = None
        try:
            service = definition.make()
            await _within(self._patience.start_s, service.start())
            while True:
                state = await _within(self._patience.status_s, service.status())
                if state is False:
                    self._show(definition, "down", state)
                    return was_ready
                was_ready = True
                self._show(definition, "ready", _json_form(state))
                await asyncio.sleep(self._patience.check_s)
        except Exception as error:  # an author's code may raise anything; the service is down then
            _log.exception("service failed", error, service=definition.name)
            self._show(definition, "down", message_of(error))
            return was_ready
        finally:
            if service is not None:
                await self._stop(definition, service)

    async def _stop(self, definition: ServiceDefinition, service: Service) -> None:
        try:
            await _within(self._patience.stop_s, service.stop())
        except Exception as error:
            _log.exception("service did not stop", error, service=definition.name)

    def _show(self, definition: ServiceDefinition, status: str, state: object) -> None:
        before = self._states[definition.name]["status"]
        self._states[definition.name] = ServiceState(
            name=definition.name, status=status, state=state
        )
        if status == "ready" != before:
            _log.event("service.up", service=definition.name)
        elif status == "down" != before:
            _log.event("service.down", service=definition.name, reason=state)
        self._publish()

    def _publish(self) -> None:
        self._facts.set_services(list(self._states.values()))
        self._set_down(any(each["status"] != "ready" for each in self._states.values()))


class TagRefresher:
    """Asks the sources of tags on their timers and shows what they say, later sources over earlier.

    Args:
        sources: the functions that tell tags.
        facts: shows the tags.
        patience: how long to wait for a source.
    """

    def __init__(
        self, sources: Iterable[TagSource], facts: WorkerFacts, patience: Patience | None = None
    ) -> None:
        self._sources = list(sources)
        self._facts = facts
        self._patience = patience or Patience()
        self._told: list[dict[str, object]] = [{} for _ in self._sources]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Ask every source once, then each on its timer."""
        await asyncio.gather(*(self._ask(place) for place in range(len(self._sources))))
        self._tasks = [
            asyncio.get_running_loop().create_task(self._refresh(place), name=f"tags-{source.name}")
            for place, source in enumerate(self._sources)
        ]

    async def close(self) -> None:
        """Stop asking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _refresh(self, place: int) -> None:
        while True:
            await asyncio.sleep(self._sources[place].interval_s)
            await self._ask(place)

    async def _ask(self, place: int) -> None:
        """Take what a source says; one that fails keeps what it said last."""
        source = self._sources[place]
        try:
            told = _json_form(await _within(self._patience.tags_s, source()))
            if not isinstance(told, dict):
                raise TypeError(f"tags are a mapping, not {type(told).__name__}")
        except Exception as error:
            _log.exception("tags failed", error, source=source.name)
            return
        self._told[place] = cast("dict[str, object]", told)
        merged: dict[str, object] = {}
        for each in self._told:
            merged |= each
        self._facts.set_tags(merged)


async def _within(limit_s: float, call: Awaitable[object]) -> object:
    async with asyncio.timeout(limit_s):
        return await call


def _json_form(value: object) -> object:
    """Return a value as JSON has it; what has no such form becomes text: it is shown to people."""
    try:
        form = cast("object", to_jsonable_python(value, bytes_mode="base64"))
    except (PydanticSerializationError, ValueError):
        form = str(value)
    try:
        msgspec.json.encode(form)
    except UnicodeEncodeError:  # a lone surrogate, as in a file name that is no UTF-8
        return json.loads(json.dumps(form, ensure_ascii=False).encode("utf-8", "replace"))
    return form
