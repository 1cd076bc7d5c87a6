"""The engine: every event reaches the scheduler, every command the object concerned."""

from __future__ import annotations

import asyncio

import pytest

from balancer.core.events import Held
from balancer.engine import Engine
from shared.errors import Failure
from shared.ids import TaskId, Token
from shared.protocol.limits import MAX_BODY
from shared.task import Mode, PieceKind
from shared.task_state import TaskStatus
from tests.fakes.engine_rig import HOOK, Caller, EngineRig, request
from tests.fakes.jumping_loop import JumpingLoop, LoopClock, in_jumping_time
from tests.fakes.waiting import wait_until
from tests.fakes.worker_port import ScriptedWorker


@pytest.fixture
async def rig() -> EngineRig:
    """An engine that has discovered its fleet: one worker with two slots."""
    rig = EngineRig()
    await rig.start(discovered=False)
    return rig


@pytest.fixture
def worker(rig: EngineRig) -> ScriptedWorker:
    """The worker, linked."""
    worker = ScriptedWorker(rig.engine)
    worker.link()
    rig.engine.discovered()
    return worker


# Calls


async def test_a_call_is_dispatched_at_once_and_told_its_end(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """Submit dispatches in the same turn; the result goes to the sink and is acknowledged."""
    task, caller = rig.submit()
    assert worker.sent == [(task.id, task.token, b"{}", 300.0)]
    token = worker.sent[0][1]
    worker.finish(token, b'{"a":1}')
    assert caller.outcome.status is TaskStatus.SUCCEEDED
    assert caller.outcome.result == b'{"a":1}'
    assert (caller.outcome.worker, caller.outcome.attempts) == ("w:1", 1)
    assert worker.acknowledged == [token]
    assert rig.engine.recent.get(task.id) is not None


@pytest.mark.parametrize(
    ("function", "mode", "code"),
    [
        ("nope", Mode.SYNC, "function_not_found"),
        ("plain", Mode.STREAM, "streaming_not_supported"),
    ],
)
async def test_what_cannot_run_is_refused_before_it_is_held(
    rig: EngineRig, worker: ScriptedWorker, function: str, mode: Mode, code: str
) -> None:
    """A refusal is a value, counted, and nothing is sent."""
    refused = rig.engine.submit(request(function, mode=mode), Caller())
    assert isinstance(refused, Failure)
    assert refused.code == code
    assert rig.engine.counters.rejected == {code: 1}
    assert worker.sent == []
    assert rig.engine.idle


async def test_what_no_link_carries_is_refused(rig: EngineRig, worker: ScriptedWorker) -> None:
    """Input and metadata over the largest body of a link are 413, whatever the edge let through."""
    large = request(input=b"x" * (MAX_BODY - 10), metadata=b"y" * 11)
    for refused in (rig.engine.submit(large, Caller()), await rig.engine.accept(large)):
        assert isinstance(refused, Failure)
        assert refused.code == "body_too_large"
    assert worker.sent == []


async def test_the_only_group_need_not_be_named(rig: EngineRig, worker: ScriptedWorker) -> None:
    """Without a group the only one that hosts the function is taken."""
    task = rig.engine.submit(request(group=""), Caller())
    assert not isinstance(task, Failure)
    assert task.lane == ("default", 1, "plain")
    assert len(worker.sent) == 1


async def test_pieces_go_to_the_sink_and_credit_to_the_worker(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """Chunks under the current token are passed on, those of unknown kinds dropped."""
    task, caller = rig.submit("pour", mode=Mode.STREAM)
    token = worker.sent[0][1]
    rig.engine.chunk(worker.id, token, 1, PieceKind.TEXT, b"a")
    rig.engine.chunk(worker.id, token, 2, "of tomorrow", b"b")
    rig.engine.chunk(worker.id, Token("other"), 3, PieceKind.TEXT, b"c")
    assert [(piece.seq, piece.data) for piece in caller.pieces] == [(1, b"a")]
    rig.engine.grant(task, 5)
    # What is superseded was sent on credit too, and nobody will write it.
    assert worker.credits == [(Token("other"), 1), (token, 5)]
    worker.finish(token, None)
    rig.engine.grant(task, 5)  # too late to matter, and harmless


async def test_a_superseded_result_is_acknowledged_and_counted(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """A result that nobody waits for must not be kept by its worker for ever."""
    task, caller = rig.submit()
    token = worker.sent[0][1]
    assert rig.engine.cancel(task.id)
    assert worker.cancelled == [token]
    worker.finish(token)
    assert caller.outcome.status is TaskStatus.CANCELLED
    assert worker.acknowledged == [token]
    assert rig.engine.counters.superseded == 1
    assert not rig.engine.cancel(task.id)


async def test_a_dispatch_that_cannot_be_sent_goes_back_to_its_place(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """A closed way gives the task back, after the decision that chose it; a report tries again."""
    worker.closed = True
    task, caller = rig.submit()
    await asyncio.sleep(0)
    assert task.status is TaskStatus.QUEUED
    worker.closed = False
    rig.engine.reported(worker.id, worker.report())
    assert [sent[0] for sent in worker.sent] == [task.id]
    assert caller.outcomes == []


async def test_a_refusal_spends_nothing(rig: EngineRig, worker: ScriptedWorker) -> None:
    """A worker without a slot gives the task back, which then runs elsewhere, or here, later."""
    task, caller = rig.submit()
    worker.refuse(worker.sent[0][1])
    assert [sent[0] for sent in worker.sent] == [task.id, task.id]
    worker.finish(worker.sent[1][1])
    assert (caller.outcome.attempts, rig.engine.counters.refusals) == (1, 1)


async def test_a_closed_link_still_ends_calls(rig: EngineRig, worker: ScriptedWorker) -> None:
    """A cancel after the link was lost is told to the port: plain HTTP can still close its call."""
    task, _ = rig.submit()
    rig.engine.link_lost(worker.id)
    rig.engine.cancel(task.id)
    assert worker.cancelled == [worker.sent[0][1]]
    rig.engine.forget(worker.id)
    rig.engine.acknowledge(worker.id, Token("x"))
    assert worker.acknowledged == []


async def test_shutting_down_takes_nothing(rig: EngineRig, worker: ScriptedWorker) -> None:
    """After `stop_taking` every task is refused; what is held goes on."""
    _, caller = rig.submit()
    rig.engine.stop_taking()
    for refused in (rig.engine.submit(request(), Caller()), await rig.engine.accept(request())):
        assert isinstance(refused, Failure)
        assert (refused.code, refused.retry_after_s) == ("shutting_down", 5)
    assert not rig.engine.idle
    worker.finish(worker.sent[0][1])
    assert caller.outcome.ok
    assert rig.engine.idle


# Durable tasks


async def test_a_durable_task_is_committed_before_it_is_dispatched(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """Nothing is sent until the store has it."""
    accepting = asyncio.create_task(rig.engine.accept(request(webhook=HOOK, mode=Mode.WEBHOOK)))
    while not worker.sent:
        stored = await rig.store.tasks.count()
        assert len(worker.sent) <= stored
        await asyncio.sleep(0)
    task = await accepting
    assert not isinstance(task, Failure)
    assert await rig.store.tasks.get(task.id) is not None
    assert worker.sent[0][0] == task.id


async def test_its_input_is_checked_before_it_is_accepted(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """A durable task with parameters that its function refuses is never kept."""
    refused = await rig.engine.accept(request("hello", input=b"{}"))
    assert isinstance(refused, Failure)
    assert (refused.code, refused.message) == ("invalid_params", "Missing required param: name")
    assert await rig.store.tasks.count() == 0
    assert worker.sent == []


async def test_its_result_is_acknowledged_only_after_the_commit(
    rig: EngineRig, worker: ScriptedWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the store is out the worker keeps the result; the commit is tried until it goes through."""
    task = await rig.accept(webhook=HOOK, mode=Mode.WEBHOOK)
    token = worker.sent[0][1]
    rig.shelves.begin_outage()
    worker.finish(token)
    for _ in range(5):
        await asyncio.sleep(0)
    assert worker.acknowledged == []
    assert capsys.readouterr().out.count("store.unavailable") == 1
    worker.finish(token)  # offered again, by a worker whose link was cut
    assert worker.acknowledged == []
    rig.shelves.end_outage()
    await wait_until(lambda: worker.acknowledged == [token], "the commit went through")
    record = await rig.store.tasks.get(task.id)
    assert record is not None
    assert record.status is TaskStatus.SUCCEEDED
    log = capsys.readouterr().out
    assert ("store.unavailable" in log, log.count("store.restored")) == (False, 1)
    await rig.engine.close()


async def test_a_caller_that_leaves_during_the_commit_leaves_the_task(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """What the store says was accepted runs, whoever has gone meanwhile."""
    accepting = asyncio.create_task(rig.engine.accept(request()))
    await asyncio.sleep(0)
    accepting.cancel()
    await wait_until(lambda: worker.sent, "it runs")
    assert rig.engine.durable_unfinished == 1
    worker.finish(worker.sent[0][1])
    await wait_until(lambda: rig.engine.durable_unfinished == 0, "its end is committed")


async def test_so_does_one_that_leaves_right_after_it(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """Between the commit and the answer there is no gap in which a task could be lost."""
    for turns in range(6):
        before = len(worker.sent)
        accepting = asyncio.create_task(rig.engine.accept(request()))
        for _ in range(turns):
            await asyncio.sleep(0)
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)
        held = await rig.store.tasks.count()
        assert len(worker.sent) - before == held, f"cancelled after {turns} turns"
        for sent in worker.sent[before:]:
            worker.finish(sent[1])
        await wait_until(lambda: rig.engine.durable_unfinished == 0, "all is committed")


async def test_a_task_that_could_not_be_committed_was_never_accepted(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """With the store out the answer is 503, and nothing is counted, held or sent."""
    rig.shelves.begin_outage()
    refused = await rig.engine.accept(request())
    assert isinstance(refused, Failure)
    assert (refused.code, refused.retry_after_s) == ("store_unavailable", 1)
    accepting = asyncio.create_task(rig.engine.accept(request()))
    await asyncio.sleep(0)
    accepting.cancel()  # left before it was known that nothing was accepted
    for _ in range(5):
        await asyncio.sleep(0)
    assert rig.engine.durable_unfinished == 0
    assert worker.sent == []


async def test_max_durable_bounds_what_is_unfinished() -> None:
    """Past the bound a durable task is refused at once, until another one has ended."""
    rig = EngineRig()
    await rig.start(max_durable=1, discovered=False)
    worker = ScriptedWorker(rig.engine)
    worker.link()
    await rig.accept()
    refused = await rig.engine.accept(request())
    assert isinstance(refused, Failure)
    assert refused.code == "queue_full"
    worker.finish(worker.sent[0][1])
    await wait_until(lambda: rig.engine.durable_unfinished == 0, "it has ended")
    await rig.accept()


async def test_a_cancel_is_settled_when_it_is_committed(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """`settled` waits for the commit of an end; of a task that is not ending it waits for nothing."""
    task = await rig.accept()
    assert rig.engine.cancel(task.id)
    assert await rig.engine.settled(task.id)
    record = await rig.store.tasks.get(task.id)
    assert record is not None
    assert record.status is TaskStatus.CANCELLED
    assert await rig.engine.settled(TaskId("unknown"))


async def test_a_large_input_is_left_in_the_store_and_read_at_dispatch(
    rig: EngineRig, worker: ScriptedWorker
) -> None:
    """Memory holds no large input while it waits; the worker gets it all the same."""
    body = b'{"x":"' + b"y" * 70_000 + b'"}'
    task = await rig.accept(input=body)
    assert task.request.input == b""
    await wait_until(lambda: worker.sent, "it was read and sent")
    assert worker.sent[0][2] == body


async def test_an_input_that_cannot_be_read_is_tried_again(rig: EngineRig) -> None:
    """A task whose input the store does not give now keeps its place, and is sent when it does."""
    body = b'{"x":"' + b"y" * 70_000 + b'"}'
    worker = ScriptedWorker(rig.engine, slots=1)
    task = await rig.accept(input=body)
    hidden = rig.shelves.shelves.tasks.pop(task.id)
    worker.link()
    rig.engine.discovered()
    for _ in range(5):
        await asyncio.sleep(0)
    assert worker.sent == []
    rig.shelves.shelves.tasks[task.id] = hidden
    await wait_until(lambda: worker.sent, "it was read and sent")
    assert (worker.sent[0][2], task.number) == (body, 1)


async def test_a_cancel_while_the_input_is_read_sends_nothing(rig: EngineRig) -> None:
    """A task that ended while its input was on its way is not dispatched, and its slot is free."""
    worker = ScriptedWorker(rig.engine, slots=1)
    task = await rig.accept(input=b'{"x":"' + b"y" * 70_000 + b'"}')
    worker.link()
    rig.engine.discovered()
    assert rig.engine.cancel(task.id)
    assert await rig.engine.settled(task.id)
    assert worker.sent == []
    rig.submit()
    assert len(worker.sent) == 1


async def test_retries_and_losses_are_written(rig: EngineRig, worker: ScriptedWorker) -> None:
    """Ended attempts reach the store with their outcome, refused ones leave nothing."""
    task = await rig.accept("flaky")
    worker.refuse(worker.sent[0][1])
    worker.fail(worker.sent[1][1])
    assert task.status is TaskStatus.SCHEDULED
    rig.tick(2.0)
    rig.engine.link_lost(worker.id)
    rig.tick(3.0)
    worker.link(boot="another")
    worker.finish(worker.sent[-1][1])
    await wait_until(lambda: rig.engine.durable_unfinished == 0, "its end is committed")
    record = await rig.store.tasks.get(task.id)
    assert record is not None
    assert [(each.n, each.outcome, each.code) for each in record.attempts] == [
        (1, "failed", "function_error"),
        (2, "lost", "worker_lost"),
        (3, "succeeded", None),
    ]


# Restart


async def test_a_restarted_engine_takes_over_and_adopts(rig: EngineRig) -> None:
    """Unfinished tasks wait for the first round; what a worker holds is adopted, the rest runs."""
    first = ScriptedWorker(rig.engine, slots=1)
    first.link()
    rig.engine.discovered()
    running, waiting = await rig.accept(), await rig.accept()
    token = first.sent[0][1]

    assert await rig.start(discovered=False) == 2
    worker = ScriptedWorker(rig.engine, slots=1)
    worker.sent.append((running.id, token, b"", None))
    worker.link(holding=[Held(token, running.id, False)])
    assert len(worker.sent) == 1  # nothing is sent before the round has ended
    rig.engine.discovered()
    worker.finish(token)
    worker.finish(worker.sent[1][1])
    assert [sent[0] for sent in worker.sent] == [running.id, waiting.id]
    await wait_until(lambda: rig.engine.durable_unfinished == 0, "both ends are committed")
    record = await rig.store.tasks.get(running.id)
    assert record is not None
    assert [each.token for each in record.attempts] == [token]


async def test_the_order_of_acceptance_survives_restarts(rig: EngineRig) -> None:
    """Tasks of several lives of the balancer run in the order in which they were accepted."""
    ids = [(await rig.accept()).id for _ in range(3)]
    await rig.start(discovered=False)
    ids += [(await rig.accept()).id for _ in range(2)]
    await rig.start(discovered=False)
    worker = ScriptedWorker(rig.engine, slots=9)
    worker.link()
    rig.engine.discovered()
    assert [sent[0] for sent in worker.sent] == ids


async def test_deadlines_survive_restarts(rig: EngineRig) -> None:
    """A deadline is a moment of the wall clock: time spent without a balancer counts."""
    task = await rig.accept(deadline_s=10.0)
    rig.clock.advance(8)
    await rig.start()
    rig.tick(1.0)
    assert rig.engine.scheduler.get(task.id) is not None
    rig.tick(1.5)
    await wait_until(lambda: rig.engine.durable_unfinished == 0, "its end is committed")
    record = await rig.store.tasks.get(task.id)
    assert record is not None
    assert record.status is TaskStatus.EXPIRED


async def test_a_worker_key_is_sealed_in_the_store_and_open_in_memory(rig: EngineRig) -> None:
    """`x-wr-auth` of a durable task is never in the store as it came, and is there after a restart."""
    task = await rig.accept(worker_key="s3cret")
    (stored,) = await rig.store.tasks.recover(after_order=0, limit=10)
    assert stored.request.worker_key not in (None, "s3cret")
    await rig.start()
    revived = rig.engine.scheduler.get(task.id)
    assert revived is not None
    assert revived.request.worker_key == "s3cret"


# Time


def test_a_tick_that_comes_late_declares_nobody_lost() -> None:
    """After a suspension the windows start anew, so that what waits in the sockets is read first."""

    async def main(loop: JumpingLoop) -> None:
        rig = EngineRig()
        rig.clock = LoopClock(loop)  # pyright: ignore[reportAttributeAccessIssue] another clock
        await rig.start(discovered=False)
        worker = ScriptedWorker(rig.engine)
        worker.link()
        _, caller = rig.submit()
        ticking = asyncio.ensure_future(rig.engine.run())
        await loop.pass_time(1)
        rig.engine.link_lost(worker.id)
        loop.jump(60)  # suspended for a minute, with a window of two seconds running
        await wait_for_ticks()
        assert caller.outcomes == []
        worker.link(holding=[Held(worker.sent[0][1], worker.sent[0][0], False)])
        worker.finish(worker.sent[0][1])
        assert caller.outcome.ok
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)

    in_jumping_time(main)


async def wait_for_ticks() -> None:
    """Let the engine tick what is due."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_tick_tells_workers_what_waits(rig: EngineRig, worker: ScriptedWorker) -> None:
    """Demand goes to the port of the worker concerned."""
    for _ in range(3):
        rig.submit()
    rig.tick(1.0)
    assert worker.demands[-1] == (1, 1)


def test_the_engine_is_the_fleet_s_listener_and_the_core_s_shell() -> None:
    """It implements both protocols; a method that is missing is a type error, and one here."""
    for name in ("worker_up", "reported", "refused", "chunk", "finished", "link_lost", "discovered",
                 "dispatch", "cancel_attempt", "acknowledge", "changed", "resolve", "demand"):  # fmt: skip
        assert callable(getattr(Engine, name))
