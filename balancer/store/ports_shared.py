"""Durable tasks that several balancers share: who is there, who has which task, and who takes over.

A waiting task belongs to nobody. A balancer claims it when it has a free slot for it, and owns it until
it gives it back, ends it, or is dead. The owner and the token that the store has on record decide: what
a former owner says is refused, and shown as superseded. Times are on the store's clock, because the
balancers' clocks differ. Every call may be repeated when its answer was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from balancer.store.ports import OutboxRow, StoredTask
from shared.ids import PoolKey, TaskId, Token
from shared.task import AttemptRecord, Outcome

HEARTBEAT_S = 1.0
DEAD_AFTER = 3  # heartbeats that were missed
CLEAN_BEATS = 3  # so many must have gone through in time before anybody is called dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a heartbeat tells.

    Attributes:
        dead: balancers whose tasks may be taken over now; nobody's until CLEAN_BEATS have passed,
            because after an outage of the store everybody looks dead.
        late: this balancer was silent for so long that others may have taken over what it had.
    """

    dead: tuple[str, ...] = ()
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A task that this balancer owns from now on.

    Attributes:
        task: as `TaskStore.recover` returns it: without a large input.
        token: under which the store takes its answer; after a takeover that of the attempt which a
            worker may still run.
    """

    task: StoredTask
    token: Token


class SharedQueue(Protocol):
    """Tasks and balancers of a shared store."""

    async def heartbeat(self) -> Beat:
        """Say that this balancer lives, every HEARTBEAT_S; the first one joins it to the others.

        Raises:
            Unavailable: nobody heard it.
        """
        ...

    async def leave(self) -> None:
        """Say that it stops in good order: its tasks may be taken over at once."""
        ...

    async def claim(
        self, request_id: str, pool: PoolKey, room: Mapping[str, int], total: int
    ) -> list[Claimed]:
        """Own the next waiting tasks of a pool: by priority, then by order of acceptance, over all lanes.

        Args:
            request_id: names this claim; the same one gets the same tasks again, as far as they are
                still this balancer's.
            pool: (group, contract).
            room: free slots by function; the others' tasks stay where they are.
            total: free slots of the pool.
        """
        ...

    async def give_back(self, task_id: TaskId, token: Token) -> bool:
        """Put a task that was claimed back in its own place; False when it is another's by now."""
        ...

    async def answer(
        self,
        task_id: TaskId,
        token: Token,
        outcome: Outcome,
        attempt: AttemptRecord | None,
        finished_at: datetime,
        outbox: OutboxRow | None,
    ) -> bool:
        """Commit the end of a task and its webhook; False when it is superseded."""
        ...

    async def takeover(self, request_id: str, dead: str, limit: int) -> list[Claimed]:
        """Own up to `limit` tasks of a balancer that `heartbeat` called dead; none means that it had no more."""
        ...
