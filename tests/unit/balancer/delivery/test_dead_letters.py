"""Replay, release and purge: committed before they are answered, and not lost in between."""

from __future__ import annotations

import asyncio

import pytest

from balancer.core.live_task import LiveTask
from balancer.delivery.dead_letters import AT_ONCE, BATCH, Replayed, successor_id
from balancer.store.ports import OutboxRow
from balancer.store.ports_dead import DeadCounts, DeadFilter
from shared.dead_letter import DeadKind
from shared.errors import Failure, Unavailable
from shared.ids import TaskId
from tests.fakes.engine_rig import HOOK, EngineRig, request
from tests.fakes.stored_tasks import committed
from tests.fakes.waiting import wait_until
from tests.fakes.worker_port import ScriptedWorker

ALL = DeadFilter()


class Graveyard:
    """An engine with a worker, and dead letters that they have made."""

    def __init__(self, rig: EngineRig) -> None:
        self.rig = rig
        self._boots = 0
        self.reboot()
        rig.engine.discovered()

    def reboot(self) -> None:
        """Let the worker die, and its successor come up."""
        self._boots += 1
        self.worker = ScriptedWorker(self.rig.engine)
        self.worker.link(boot=f"boot-{self._boots}")

    async def fail(self, **members: object) -> LiveTask:
        """Let a task fail for good."""
        task = await self.rig.accept("plain", **members)
        self.worker.fail(self.worker.sent[-1][1])
        assert await self.rig.engine.settled(task.id)
        return task

    async def quarantine(self, **members: object) -> LiveTask:
        """Let the worker die under a task until that is set aside."""
        task = await self.rig.accept("plain", **members)
        for _ in range(3):
            self.reboot()
        assert await self.rig.engine.settled(task.id)
        return task


@pytest.fixture
async def yard() -> Graveyard:
    """Return an engine and a worker."""
    rig = EngineRig()
    await rig.start(discovered=False)
    return Graveyard(rig)


async def test_a_replayed_task_is_dispatched_as_a_new_one(yard: Graveyard) -> None:
    """With the input and the worker key of the old one, which were sealed in the store."""
    old = await yard.fail(input=b'{"n":1}', worker_key="secret")
    done = await yard.rig.engine.dead.replay(old.id)
    assert isinstance(done, Replayed)
    assert (done.kind, done.letter_id) == (DeadKind.TASK, old.id)
    task_id, token, body, _ = yard.worker.sent[-1]
    assert (task_id, body) == (done.task_id, b'{"n":1}')
    live = yard.rig.engine.scheduler.get(task_id)
    assert live is not None
    assert live.request.worker_key == "secret"
    assert yard.rig.engine.durable_unfinished == 1
    yard.worker.finish(token)
    await wait_until(lambda: yard.rig.engine.durable_unfinished == 0, "its end is committed")


@pytest.mark.parametrize(
    ("old", "new"), [("boot-1", "b2-9"), ("boot-1.3f", "b2-9.3f"), ("a.b.07", "b2-9.07")]
)
def test_a_successor_is_kept_where_the_old_task_was(old: str, new: str) -> None:
    """The ending of an id says where; the rest is new."""
    assert successor_id("b2-9", TaskId(old)) == new


async def test_what_nobody_knows_is_not_replayed(yard: Graveyard) -> None:
    """A failure as a value, and nothing is counted as unfinished."""
    done = await yard.rig.engine.dead.replay("nobody")
    assert isinstance(done, Failure)
    assert done.code == "dead_letter_not_found"
    assert not await yard.rig.engine.dead.release(TaskId("nobody"))
    assert yard.rig.engine.durable_unfinished == 0


async def test_a_replay_goes_on_when_its_caller_leaves(yard: Graveyard) -> None:
    """What the store has put back among the unfinished is put into its queue as well."""
    old = await yard.fail()
    asking = asyncio.ensure_future(yard.rig.engine.dead.replay(old.id))
    for _ in range(2):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await yard.rig.engine.dead.close()
    assert len(yard.worker.sent) == 2
    assert yard.rig.engine.durable_unfinished == 1


async def test_an_outage_is_told_and_leaves_the_letter(yard: Graveyard) -> None:
    """Nothing runs that was not committed, and no place is lost."""
    old = await yard.fail()
    yard.rig.shelves.begin_outage()
    with pytest.raises(Unavailable):
        await yard.rig.engine.dead.replay(old.id)
    done = await yard.rig.engine.dead.replay_many(ALL, 10)
    assert (done.count, done.more) == (0, True)
    assert done.refused is not None
    assert done.refused.code == "store_unavailable"
    assert yard.rig.engine.durable_unfinished == 0
    yard.rig.shelves.end_outage()
    assert isinstance(await yard.rig.engine.dead.replay(old.id), Replayed)


async def test_a_replayed_webhook_is_given_to_the_deliverer(yard: Graveyard) -> None:
    """At once, and under the id that it had."""
    task = await yard.fail(webhook=HOOK)
    store = yard.rig.store
    letter_id, at = f"msg_{task.id}", yard.rig.clock.utc_now()
    await committed(lambda done: store.outbox.dead(letter_id, 4, at, "no", done))
    fresh: list[OutboxRow] = []
    store.outbox.fresh = fresh.append
    done = await yard.rig.engine.dead.replay(letter_id)
    assert done == Replayed(DeadKind.WEBHOOK, task.id, letter_id)
    assert [(row.webhook_id, row.attempts) for row in fresh] == [(letter_id, 0)]


async def test_a_released_task_runs_again_after_three_more_deaths_at_most(yard: Graveyard) -> None:
    """Its deaths are forgotten: it gets as many tries as before, and then is set aside again."""
    task = await yard.quarantine()
    assert await yard.rig.engine.dead.release(task.id)
    live = yard.rig.engine.scheduler.get(task.id)
    assert live is not None
    assert (live.deaths, live.number) == (0, 4)
    for _ in range(3):
        yard.reboot()
    assert await yard.rig.engine.settled(task.id)
    assert (await yard.rig.store.dead.counts()).quarantine == 1


async def test_each_end_of_a_released_task_is_a_message_of_its_own(yard: Graveyard) -> None:
    """A receiver that has seen the quarantine's id must not take the result for a repetition."""
    task = await yard.quarantine(webhook=HOOK)
    assert await yard.rig.engine.dead.release(task.id)
    yard.worker.finish(yard.worker.sent[-1][1])
    assert await yard.rig.engine.settled(task.id)
    due = await yard.rig.store.outbox.due(yard.rig.clock.utc_now(), 10)
    assert [row.webhook_id for row in due] == [f"msg_q3_{task.id}", f"msg_{task.id}"]


async def test_a_quarantined_task_counts_as_unfinished() -> None:
    """MAX_DURABLE bounds what waits for a person, too, over restarts, until it is purged."""
    rig = EngineRig()
    await rig.start(max_durable=2, discovered=False)
    yard = Graveyard(rig)
    await yard.quarantine()
    for _ in range(2):
        await rig.start(max_durable=2, discovered=False)
        Graveyard(rig)
        await rig.accept()
        refused = await rig.engine.accept(request())
        assert isinstance(refused, Failure)
        assert refused.code == "queue_full"
        for task in rig.engine.scheduler.tasks():
            rig.engine.cancel(task.id)
            assert await rig.engine.settled(task.id)
    assert (await rig.engine.dead.purge(ALL)).quarantine == 1
    await rig.accept()
    await rig.accept()


async def test_a_full_queue_takes_no_replay() -> None:
    """429 as for any other task; the letter stays."""
    rig = EngineRig()
    await rig.start(max_durable=1, discovered=False)
    yard = Graveyard(rig)
    old = await yard.fail()
    await rig.accept()
    refused = await rig.engine.dead.replay(old.id)
    assert isinstance(refused, Failure)
    assert (refused.code, refused.retry_after_s) == ("queue_full", 5)
    assert (await rig.store.dead.counts()).task == 1


async def test_many_are_replayed_in_the_order_in_which_they_died(yard: Graveyard) -> None:
    """More than are under way at one time; the newest are chosen, the oldest of them go first."""
    count = AT_ONCE + 5
    old = [(await yard.fail()).id for _ in range(count)]
    before = len(yard.worker.sent)
    done = await yard.rig.engine.dead.replay_many(ALL, count - 2)
    assert (done.count, done.more, done.refused) == (count - 2, True, None)
    for place in range(before, before + count - 2):
        yard.worker.finish(yard.worker.sent[place][1])  # and the next one gets its slot
    replayed = [await yard.rig.store.tasks.get(sent[0]) for sent in yard.worker.sent[before:]]
    assert [record and record.replay_of for record in replayed] == old[2:]


async def test_purging_goes_on_in_batches(yard: Graveyard) -> None:
    """All that match are gone when it returns, and how many is told by kind."""
    await yard.quarantine()
    for _ in range(BATCH + 1):
        await yard.fail()
    assert await yard.rig.engine.dead.purge(ALL) == DeadCounts(task=BATCH + 1, quarantine=1)
    assert (await yard.rig.store.dead.counts()).total == 0
