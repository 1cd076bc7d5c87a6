"""What operators do with dead letters: replay, release, purge.

Each is committed before it is answered. It goes on when whoever asked for it has gone meanwhile: what
the store has put back among the unfinished must be put into its queue, or it would lie there until the
next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from balancer.store.ports_dead import DeadCounts, DeadFilter, DeadLetter, Renewal
from shared.dead_letter import DeadKind
from shared.errors import CabrankError, Failure, failure
from shared.ids import TaskId
from shared.log import Log

if TYPE_CHECKING:
    from datetime import datetime

    from balancer.delivery.durable import DurableTasks
    from balancer.store.ports import Store, StoredTask
    from balancer.store.recent import WallClock
    from shared.clock import Clock
    from shared.ids import IdSource

AT_ONCE = 32  # replays under way, of one order: they share commits
BATCH = 500  # letters purged in one transaction: some milliseconds

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a letter has become.

    Attributes:
        kind: of the letter.
        task_id: the task that runs now, or whose webhook is sent again.
        letter_id: the letter that is gone.
    """

    kind: DeadKind
    task_id: TaskId
    letter_id: str


@dataclass(frozen=True, slots=True)
class ReplayedMany:
    """What came of the replay of many.

    Attributes:
        count: letters replayed.
        more: others match as well.
        refused: why it stopped before its end.
    """

    count: int
    more: bool
    refused: Failure | None = None


def successor_id(fresh: str, old: TaskId) -> TaskId:
    """Return the id of a task that takes another's place, from one that nobody has.

    What stands behind a dot says where a shared store keeps a task; its successor is kept there, too,
    so that one write can put it in its place.
    """
    _, dot, place = old.rpartition(".")
    return TaskId(f"{fresh}{dot}{place}" if dot else fresh)


class DeadLetters:
    """Dead letters of one balancer's store.

    Args:
        store: has them.
        durable: counts what is unfinished.
        take_back: puts a task into its queue.
        wall, clock: tell the time of the balancer.
        ids: makes ids of tasks.
    """

    def __init__(
        self, store: Store, durable: DurableTasks, take_back: Callable[[StoredTask], None],
        wall: WallClock, clock: Clock, ids: IdSource,
    ) -> None:  # fmt: skip
        self._store = store
        self._durable = durable
        self._take_back = take_back
        self._wall = wall
        self._clock = clock
        self._ids = ids
        self._log = Log("dead")
        self._under_way: set[asyncio.Task[object]] = set()

    async def replay(self, letter_id: str) -> Replayed | Failure:
        """Run a task again as a new one, send a webhook again, or release a quarantined task.

        Raises:
            Unavailable: the store is out.
        """
        letter = await self._store.dead.get(letter_id)
        if letter is None:
            return failure("dead_letter_not_found")
        return await self._finished(self._replay(letter))

    async def replay_many(self, chosen: DeadFilter, limit: int) -> ReplayedMany:
        """Replay letters that are there now, up to a limit; the newest are chosen, the oldest of them go first.

        Raises:
            Unavailable: the store is out, and nothing was replayed.
        """
        letters, following = await self._store.dead.list(chosen, limit=limit, cursor=None)
        letters.reverse()
        count = 0
        for start in range(0, len(letters), AT_ONCE):
            some = letters[start : start + AT_ONCE]
            done = await asyncio.gather(*(self._told(letter) for letter in some))
            count += sum(isinstance(each, Replayed) for each in done)
            for each in done:
                # One that is gone was replayed or purged by somebody else meanwhile.
                if isinstance(each, Failure) and each.code != "dead_letter_not_found":
                    return ReplayedMany(count, True, each)
        return ReplayedMany(count, following is not None)

    async def release(self, task_id: TaskId) -> bool:
        """Put a quarantined task back into its queue; False when it is not quarantined.

        Raises:
            Unavailable: the store is out.
        """
        return await self._finished(self._release(task_id))

    async def purge(self, chosen: DeadFilter) -> DeadCounts:
        """Forget all letters that match, in batches; return how many of each kind those were.

        Raises:
            Unavailable: the store is out; some may be gone already.
        """
        return await self._finished(self._purge(chosen))

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    # Private

    async def _replay(self, letter: DeadLetter) -> Replayed | Failure:
        letter_id, task_id = letter.letter_id, letter.task.task_id
        if letter.kind is DeadKind.WEBHOOK:
            row = await self._store.dead.replay_webhook(letter_id, self._now())
            if row is None:
                return failure("dead_letter_not_found")
            self._store.outbox.fresh(row)
            self._log.event("webhook.replayed", task_id=task_id, webhook_id=letter_id)
            return Replayed(letter.kind, task_id, letter_id)
        if letter.kind is DeadKind.QUARANTINE:
            if not await self._release(task_id):
                return failure("dead_letter_not_found")
            return Replayed(letter.kind, task_id, letter_id)
        return await self._run_again(letter)

    async def _run_again(self, letter: DeadLetter) -> Replayed | Failure:
        order = self._durable.reserve()
        if isinstance(order, Failure):
            return order
        new_id = successor_id(self._ids.next_id(), letter.task.task_id)
        renewal = Renewal(task_id=new_id, order=order, at=self._now())
        stored: StoredTask | None = None
        try:
            stored = await self._store.dead.replay_task(letter.letter_id, renewal)
        finally:
            if stored is None:
                self._durable.unreserve()
        if stored is None:
            return failure("dead_letter_not_found")
        self._take_back(stored)
        self._log.event(
            "task.replayed", task_id=new_id, function=letter.task.function,
            replay_of=letter.task.task_id,
        )  # fmt: skip
        return Replayed(letter.kind, new_id, letter.letter_id)

    async def _release(self, task_id: TaskId) -> bool:
        stored = await self._store.dead.release(task_id, self._now())
        if stored is None:
            return False
        self._durable.left_quarantine(released=True)
        self._take_back(stored)
        self._log.event("task.released", task_id=task_id, function=stored.request.function)
        return True

    async def _purge(self, chosen: DeadFilter) -> DeadCounts:
        found = DeadCounts()
        while True:
            gone = await self._store.dead.purge(chosen, BATCH)
            self._durable.left_quarantine(gone.quarantine)
            found = DeadCounts(*map(sum, zip(found, gone, strict=True)))
            if gone.total < BATCH:
                break
        if found.total:
            self._log.event("dead.purged", count=found.total)
        return found

    async def _told(self, letter: DeadLetter) -> Replayed | Failure:
        try:
            return await self._finished(self._replay(letter))
        except CabrankError as exc:  # the store is out: others may have been replayed already
            return exc.failure

    async def _finished(self, work: Coroutine[object, object, T]) -> T:
        """Wait for work that goes on when the one who waits is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    def _over(self, task: asyncio.Task[T]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # it was told to who waits; nobody may be there any more

    def _now(self) -> datetime:
        return self._wall.at(self._clock.monotonic())
