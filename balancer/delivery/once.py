"""Tasks that their callers named: whoever sends the same `Idempotency-Key` again gets the same task.

The key is committed with its task. Until then the first request stands for it here: the others wait for
what becomes of it. A task that was refused leaves no trace, so its key is free for the next try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from balancer.store.ports_once import OnceKey
from shared.errors import Failure, failure

if TYPE_CHECKING:
    from balancer.core.live_task import LiveTask
    from balancer.store.ports_once import OnceStore
    from shared.clock import Clock
    from shared.ids import TaskId

_CONFLICT = failure("idempotency_conflict")


@dataclass(frozen=True, slots=True)
class Named:
    """What a caller named a task.

    Attributes:
        owner: whose key it is.
        key: the name.
        fingerprint: of what is asked for.
    """

    owner: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that was accepted, now or before.

    Attributes:
        task_id: its id.
        replayed: an earlier request had it accepted.
    """

    task_id: TaskId
    replayed: bool = False


# Makes the key of a task's id; given to whoever accepts the task.
KeyOf = Callable[["TaskId"], OnceKey]
Accept = Callable[[KeyOf], Awaitable["LiveTask | Failure"]]


class Once:
    """Finds the task of a key, or has one accepted under it.

    Args:
        store: keeps the keys.
        clock: the wall clock that keys expire on.
        retention_s: how long a key is kept (IDEMPOTENCY_RETENTION).
    """

    def __init__(self, store: OnceStore, clock: Clock, retention_s: float) -> None:
        self._store = store
        self._clock = clock
        self._retention = timedelta(seconds=retention_s)
        self._under_way: dict[tuple[str, str], tuple[Named, asyncio.Task[Taken | Failure]]] = {}

    async def task(self, named: Named, accept: Accept) -> Taken | Failure:
        """Return the task of a key, or why there is none.

        Args:
            named: the key.
            accept: accepts a new task under the key.

        Raises:
            CabrankError: such as Unavailable, when the store cannot be read.
        """
        place = (named.owner, named.key)
        while (first := self._under_way.get(place)) is not None:
            other, accepting = first
            await asyncio.wait([accepting])
            taken = None if _broke_off(accepting) else accepting.result()
            if isinstance(taken, Taken) and other == named:
                return Taken(taken.task_id, replayed=True)
        # In a task of its own: a caller that leaves must not leave the others without an answer.
        accepting = asyncio.get_running_loop().create_task(self._found(named, accept))
        self._under_way[place] = (named, accepting)
        accepting.add_done_callback(lambda ended: self._over(place, ended))
        return await asyncio.shield(accepting)

    async def close(self) -> None:
        """Leave what is not committed yet."""
        tasks = [accepting for _, accepting in self._under_way.values()]
        for accepting in tasks:
            accepting.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, place: tuple[str, str], accepting: asyncio.Task[Taken | Failure]) -> None:
        self._under_way.pop(place, None)
        _broke_off(accepting)  # looked at, because nobody else may

    async def _found(self, named: Named, accept: Accept) -> Taken | Failure:
        now = self._clock.utc_now()
        known = await self._store.find(named.owner, named.key, now)
        if known is None:
            taken = await accept(
                lambda task_id: OnceKey(
                    owner=named.owner,
                    key=named.key,
                    fingerprint=named.fingerprint,
                    task_id=task_id,
                    expires_at=now + self._retention,
                )
            )
            if not isinstance(taken, Failure):
                return Taken(taken.id)
            if taken.code != _CONFLICT.code:
                return taken
            # Another balancer was first.
            known = await self._store.find(named.owner, named.key, now)
        if known is None or known.fingerprint != named.fingerprint:
            return _CONFLICT
        return Taken(known.task_id, replayed=True)


def _broke_off(accepting: asyncio.Task[Taken | Failure]) -> bool:
    return accepting.cancelled() or accepting.exception() is not None
