"""Balancers over many links: cuts, restarts, and what waits for them meanwhile."""

from __future__ import annotations

import asyncio
import json

from tests.unit.worker.link_bed import (
    WINDOW_S,
    World,
    hello,
    link_bed,
    stream,
    waits,
)
from tests.unit.worker.workbench import turns
from worker.core.outbox import Outbox
from worker.peers import FORGET_S


async def test_results_finished_during_a_cut_are_delivered_on_the_next_link() -> None:
    """The Welcome names what runs and what has finished; results follow it."""
    async with link_bed(limit=3) as bed:
        cable = bed.connect()
        cable.dispatch("sync", hello)
        cable.dispatch("durable", hello, durable=True)
        cable.dispatch("running", waits)
        cable.cut()
        await turns()
        resumed = bed.connect()
        assert resumed.holding() == [("running", False), ("sync", True), ("durable", True)]
        assert [each.token for each, _ in resumed.recorder.ended] == ["sync", "durable"]
        World.door.set()
        await resumed.run()
        assert resumed.recorder.ended[-1][1] == b'"through"'


async def test_an_unacknowledged_result_is_offered_again() -> None:
    """A result that was told and not acknowledged before the cut comes again."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", hello, durable=True)
        await cable.run()
        cable.cut()
        again = bed.connect()
        assert [each.token for each, _ in again.recorder.ended] == ["t1"]
        again.balancer.ack("t1")
        again.settle()
        assert bed.connect().holding() == []


async def test_a_stream_that_ends_during_a_cut_loses_nothing() -> None:
    """Its last pieces are offered before its end; what was granted back is not repeated."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", stream, mode="stream", credit=100)
        await cable.run()
        cable.balancer.credit("t1", 1)
        cable.settle()
        cable.cut()
        World.door.set()
        await turns()
        resumed = bed.connect()
        assert [(each.seq, each.data) for each in resumed.recorder.chunks] == [
            (2, b"1"),
            (3, b"2"),
            (4, b"last"),
        ]
        assert resumed.recorder.statuses == ["succeeded"]


async def test_a_running_stream_resumes_without_a_gap() -> None:
    """The pieces made before, during and after the cut arrive in order."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", stream, mode="stream", credit=100)
        await turns()
        cable.cut()
        resumed = bed.connect()
        assert [each.seq for each in resumed.recorder.chunks] == [1, 2, 3]
        World.door.set()
        await resumed.run()
        assert [each.data for each in resumed.recorder.chunks] == [b"0", b"1", b"2", b"last"]


async def test_a_balancer_that_stays_away_loses_its_callers_not_its_durable_tasks() -> None:
    """After the resume window sync and stream attempts are cancelled and their results dropped."""
    async with link_bed(limit=4) as bed:
        cable = bed.connect()
        for token, called, durable in (
            ("s1", waits, False), ("s2", hello, False), ("d1", waits, True), ("d2", hello, True),
        ):  # fmt: skip
            cable.dispatch(token, called, durable=durable)
        await turns()
        cable.cut()
        bed.bench.pass_time(WINDOW_S - 0.1)
        await turns()
        assert bed.bench.engine.slots().used == 2
        bed.bench.pass_time(0.1)
        await turns()
        assert bed.bench.engine.slots().used == 1
        other = bed.connect("b2")
        assert other.holding() == [("d1", False), ("d2", True)]
        World.door.set()
        await other.run()
        assert bed.bench.engine.slots().used == 0


async def test_a_new_boot_of_the_balancer_ends_its_old_callers_at_once() -> None:
    """The callers of the process that died are gone; its durable attempts are named to the new one."""
    async with link_bed(limit=3) as bed:
        cable = bed.connect(boot_id="old")
        cable.dispatch("sync", waits)
        cable.dispatch("done", hello)
        cable.dispatch("durable", waits, durable=True)
        await turns()
        cable.cut()
        restarted = bed.connect(boot_id="new")
        assert restarted.holding() == [("durable", False)]
        await turns()
        assert bed.bench.engine.slots().used == 1
        World.door.set()
        await restarted.run()
        assert [each.token for each, _ in restarted.recorder.ended] == ["durable"]


async def test_a_second_link_of_one_balancer_kills_the_first() -> None:
    """The older link's unread bytes count for nothing, and its attempts go on on the new one."""
    async with link_bed() as bed:
        first = bed.connect()
        first.dispatch("t1", waits)
        first.balancer.dispatch(
            token="unread", task_id="x", function="hello", mode="sync", input=b"{}"
        )
        unread = first.balancer.flush()
        second = bed.connect()
        assert first.wire.closing is not None
        assert first.wire.closing[0] == "replaced"
        assert unread is not None
        first.worker.receive(unread, 0)
        first.cut()
        assert bed.bench.engine.slots().used == 1
        assert second.holding() == [("t1", False)]
        World.door.set()
        await second.run()
        assert second.recorder.statuses == ["succeeded"]


async def test_while_its_owner_is_linked_nobody_else_touches_an_attempt() -> None:
    """Another balancer is not told of it, and its cancel counts for nothing."""
    async with link_bed() as bed:
        owner, other = bed.connect("b1"), bed.connect("b2")
        owner.dispatch("t1", waits, durable=True)
        await turns()
        other.balancer.cancel("t1", "superseded")
        other.settle()
        assert bed.bench.engine.slots().used == 1
        assert bed.connect("b3").holding() == []
        owner.cut()
        taker = bed.connect("b4")
        assert taker.holding() == [("t1", False)]
        taker.balancer.cancel("t1", "superseded")
        taker.settle()
        await turns()
        assert bed.bench.engine.slots().used == 0


async def test_a_full_outbox_stops_dispatches_until_results_are_acknowledged() -> None:
    """A balancer that acknowledges nothing gets no slot; nothing is thrown away."""
    async with link_bed(outbox=Outbox(max_count=1)) as bed:
        cable = bed.connect()
        cable.dispatch("t1", hello, durable=True)
        await cable.run()
        bed.bench.pass_time(0.1)
        cable.settle()
        assert cable.available == 0
        cable.dispatch("t2", hello)
        assert cable.recorder.refusals[0].code == "no_slot"
        cable.balancer.ack("t1")
        cable.settle()
        assert cable.available == 2


async def test_facts_are_pushed_when_they_change() -> None:
    """Tags and services reach every link; what stays the same is not repeated."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.recorder.known.clear()
        bed.facts.set_tags({"browser": "Chrome 131"})
        cable.settle()
        bed.facts.set_tags({"browser": "Chrome 131"})
        cable.settle()
        assert [json.loads(each.facts)["tags"] for each in cable.recorder.known] == [
            {"browser": "Chrome 131"}
        ]


async def test_a_worker_that_stops_says_goodbye_first() -> None:
    """What is stopped then is not told as a result: the balancer runs it elsewhere."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", waits, durable=True)
        await turns()
        await bed.bench.engine.close()
        cable.settle()
        assert cable.recorder.ends[0][0] == "shutting_down"
        assert cable.recorder.ended == []
        late = bed.connect("b2")
        assert late.recorder.ends[0][0] == "shutting_down"


async def test_draining_waits_for_acknowledgements() -> None:
    """A worker is not idle while a linked balancer has a durable result to acknowledge."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", hello, durable=True)
        await cable.run()
        draining = asyncio.create_task(bed.bench.engine.drained(10))
        await turns()
        assert not draining.done()
        cable.balancer.ack("t1")
        cable.settle()
        bed.bench.pass_time(0.1)
        assert await draining


async def test_draining_waits_only_until_a_result_that_is_not_durable_is_sent() -> None:
    """The result of a call is safe once it precedes the Goodbye on the wire."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", hello)
        await turns()
        assert not bed.bench.engine.idle
        cable.settle()
        assert len(bed.peers.outbox) == 1
        assert bed.bench.engine.idle


async def test_balancers_that_left_nothing_are_forgotten() -> None:
    """Ids of balancers that are gone do not pile up."""
    async with link_bed() as bed:
        for number in range(5):
            bed.connect(f"b{number}").cut()
        bed.bench.pass_time(WINDOW_S)
        bed.bench.pass_time(0.1)
        assert len(bed.peers) == 0


async def test_a_balancer_that_comes_back_after_its_window_hears_what_was_given_up() -> None:
    """What a Welcome does not name counts as never begun: code that was cancelled would run again."""
    async with link_bed(limit=3) as bed:
        cable = bed.connect()
        cable.dispatch("running", waits)
        cable.dispatch("done", hello)
        await turns()
        cable.cut()
        bed.bench.pass_time(WINDOW_S)
        await turns()
        assert bed.bench.engine.slots().used == 0
        back = bed.connect()
        assert back.holding() == [("done", True), ("running", True)]
        assert [(each.token, each.status) for each, _ in back.recorder.ended] == [
            ("done", "succeeded"),
            ("running", "cancelled"),
        ]


async def test_a_balancer_that_never_comes_back_is_forgotten() -> None:
    """What was given up is kept for as long as the balancer may count on it, and no longer."""
    async with link_bed(limit=3) as bed:
        cable = bed.connect()
        cable.dispatch("running", waits)
        cable.dispatch("done", hello)
        await turns()
        cable.cut()
        bed.bench.pass_time(WINDOW_S)
        await turns()
        bed.bench.pass_time(FORGET_S - WINDOW_S)
        assert len(bed.peers.outbox) == 0
        assert bed.connect().holding() == []
