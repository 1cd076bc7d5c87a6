"""One link on a real engine: dispatches, refusals, streams, shares of the slots."""

from __future__ import annotations

import json

import pytest

from tests.fakes.waiting import wait_until
from tests.unit.worker.link_bed import (
    World,
    big,
    emits,
    hello,
    link_bed,
    stream,
    waits,
)
from tests.unit.worker.workbench import turns
from worker.session import STALL_WINDOW_S


async def test_a_welcome_says_who_the_worker_is() -> None:
    """Identity, functions, facts and slots, before anything runs."""
    async with link_bed() as bed:
        welcome = bed.connect().recorder.welcomes[0]
        assert (welcome.worker_id, welcome.boot_id) == ("w:1", "wboot")
        assert (welcome.group, welcome.contract) == ("g", 2)
        names = [each["name"] for each in json.loads(welcome.functions)]
        assert names == ["big", "emits", "hello", "stream", "waits"]
        assert json.loads(welcome.facts)["system"]["cpuLoad"] == 0.5
        assert (welcome.report.available, welcome.report.limit) == (2, 2)
        assert welcome.holding == []


async def test_a_dispatch_runs_and_its_result_comes_before_the_report_that_frees_its_slot() -> None:
    """A report accounts for what was told before it; acknowledged results are forgotten."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", hello, b'{"name":"Ada"}')
        assert (cable.available, cable.recorder.reports[-1].seen) == (1, 0)
        await cable.run()
        assert cable.recorder.reports[-1].seen == 1
        finished, result = cable.recorder.ended[0]
        assert (finished.token, finished.task_id, finished.status) == ("t1", "task-t1", "succeeded")
        assert result == b'"hello Ada"'
        assert cable.available == 2
        assert len(bed.peers.outbox) == 1
        cable.balancer.ack("t1")
        cable.settle()
        assert len(bed.peers.outbox) == 0


REFUSALS = [
    ("nope", "sync", "function_not_found", "Function 'nope' not found"),
    ("hello", "stream", "streaming_not_supported", "Function 'hello' does not support streaming"),
    ("hello", "odd", "invalid_mode", "Invalid mode"),
]


@pytest.mark.parametrize(("name", "mode", "code", "message"), REFUSALS)
async def test_what_cannot_run_is_refused_with_its_code(
    name: str, mode: str, code: str, message: str
) -> None:
    """The refusal carries the slots as they are, and no slot was taken."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", name, mode=mode)
        refused = cable.recorder.refusals[0]
        assert (refused.token, refused.code, refused.message) == ("t1", code, message)
        assert (refused.report.seen, refused.report.available) == (1, 2)
        assert bed.bench.engine.counters.refused.get(code, 0) == (code != "invalid_mode")


async def test_a_dispatch_never_queues() -> None:
    """No free slot, maintenance, or an attempt that runs already: refused at once."""
    async with link_bed(limit=1) as bed:
        cable = bed.connect()
        cable.dispatch("t1", waits)
        cable.dispatch("t2", waits)
        cable.dispatch("t1", waits)
        cable.balancer.maintenance(True)
        cable.settle()
        cable.dispatch("t3", waits)
        codes = [(each.token, each.code) for each in cable.recorder.refusals]
        assert codes == [("t2", "no_slot"), ("t1", "superseded"), ("t3", "maintenance")]
        assert bed.bench.engine.slots().queue == 0
        World.door.set()
        await cable.run()
        assert cable.recorder.statuses == ["succeeded"]
        assert cable.available == 0
        cable.balancer.maintenance(False)
        cable.settle()
        assert cable.available == 1


async def test_a_wrong_input_and_a_time_out_are_told() -> None:
    """Codes, messages and details travel; a time-out comes at its time."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", hello, b'{"name":1}')
        cable.dispatch("t2", waits, timeout=3)
        cable.dispatch("t3", waits, remaining=1)
        await cable.run()
        bed.bench.pass_time(1)
        await cable.run()
        bed.bench.pass_time(2)
        await cable.run()
        ended = {finished.token: finished for finished, _ in cable.recorder.ended}
        assert (ended["t1"].status, ended["t1"].code) == ("failed", "invalid_params")
        assert ended["t1"].details is not None
        assert json.loads(ended["t1"].details)[0]["param"] == "name"
        assert (ended["t2"].status, ended["t2"].code) == ("timed_out", "timeout")
        assert (ended["t3"].status, ended["t3"].duration) == ("timed_out", 1)


async def test_a_large_input_has_its_slot_before_it_comes() -> None:
    """The slot is taken with the dispatch; a link that is cut in mid-body gives it back."""
    async with link_bed(limit=1) as bed:
        cable = bed.connect()
        cable.dispatch("t1", big, b'{"size":200000}' + b" " * 200_000)
        await cable.run()
        _, result = cable.recorder.ended[0]
        assert result is not None
        assert len(result) == 200_002
        lost = bed.connect("b2")
        lost.balancer.dispatch(
            token="t2", task_id="t", function="hello", mode="sync", input=b" " * 200_000
        )
        frame = lost.balancer.flush()
        assert frame is not None
        lost.worker.receive(frame, 0)
        assert bed.bench.engine.slots().used == 1
        lost.cut()
        assert bed.bench.engine.slots().used == 0


async def test_a_stream_flows_within_its_credit() -> None:
    """Pieces come while credit is left, more when it is granted."""
    async with link_bed() as bed:
        cable = bed.connect()
        World.door.set()
        cable.dispatch("t1", stream, b'{"pieces":9}', mode="stream", credit=4)
        await cable.run()
        assert [chunk.data for chunk in cable.recorder.chunks] == [b"0", b"1", b"2", b"3"]
        cable.balancer.credit("t1", 4)
        cable.balancer.credit("unknown", 4)
        cable.settle()
        await cable.run()
        assert len(cable.recorder.chunks) == 8
        cable.balancer.credit("t1", 100)
        cable.settle()
        await cable.run()
        assert cable.recorder.chunks[-1].data == b"last"
        assert cable.recorder.statuses == ["succeeded"]


async def test_events_are_passed_on() -> None:
    """What a function emits reaches the balancer under its token."""
    async with link_bed() as bed:
        cable = bed.connect()
        cable.dispatch("t1", emits)
        await cable.run()
        event = cable.recorder.events[0]
        assert (event.token, event.name, event.data) == ("t1", "thing.happened", b'{"n":1}')


async def test_a_cancel_ends_the_code() -> None:
    """The slot is free when the code has ended, and nothing is kept for a result nobody wants."""
    async with link_bed(limit=1) as bed:
        cable = bed.connect()
        cable.dispatch("t1", waits)
        await turns()
        cable.balancer.cancel("t1", "caller left")
        cable.balancer.cancel("unknown")
        cable.settle()
        await cable.run()
        assert cable.recorder.statuses == ["cancelled"]
        assert cable.available == 1
        assert len(bed.peers.outbox) == 0


async def test_two_balancers_that_wait_are_offered_slots_in_turn() -> None:
    """Under contention each is told its share, and the one that leaves gives its own back."""
    async with link_bed(limit=2) as bed:
        one, two = bed.connect("b1"), bed.connect("b2")
        assert (one.available, two.available) == (2, 2)
        one.balancer.demand(5, 1)
        one.settle()
        two.balancer.demand(5, 1)
        two.settle()
        one.settle()
        assert (one.available, two.available) == (1, 1)
        two.cut()
        one.settle()
        assert one.available == 2


async def test_a_silent_balancer_is_offered_nothing_and_at_last_given_up() -> None:
    """An open link without an answer loses its offers at once and the link after the stall window."""
    async with link_bed(limit=2) as bed:
        silent, other = bed.connect("b1"), bed.connect("b2")
        silent.balancer.demand(3, 1)
        silent.settle()
        other.balancer.demand(3, 1)
        other.settle()
        silent.session.silent()
        other.settle()
        assert other.available == 2
        silent.session.heard()
        other.settle()
        assert other.available == 1
        silent.session.silent()
        bed.bench.pass_time(STALL_WINDOW_S)
        assert silent.wire.closing is not None
        assert silent.wire.closing[0] == "silent"


async def test_a_hello_without_names_is_refused() -> None:
    """A balancer must say who it is."""
    async with link_bed() as bed:
        cable = bed.connect("", "")
        assert cable.recorder.welcomes == []
        assert cable.recorder.ends[0][0] == "protocol_error"
        await wait_until(lambda: cable.wire.closing, "the link is closed")
