"""The outbox deliverer: every row ends as delivered or dead, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from balancer.delivery import webhooks
from balancer.delivery.webhooks import WebhookDeliverer
from balancer.store.ports import OutboxRow
from shared.client.webhook_sender import Failed, Refused, Sent
from shared.task import WebhookState
from shared.webhooks import WebhookPolicy
from tests.fakes.manual_clock import START
from tests.fakes.stored_tasks import webhook
from tests.fakes.webhook_scene import FullJitter, Scene

UNAVAILABLE = Failed("Request failed with status code 503", 503)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Return a scene and stop its deliverers."""
    made = Scene()
    yield made
    for deliverer in made.started:
        await deliverer.stop(grace_s=0)


def row(task_id: str, url: str = "http://hooks.test/x") -> OutboxRow:
    """Return a webhook that is due at the start of the test's clock."""
    return webhook(task_id, url=url, next_at=START)


async def test_what_an_earlier_process_left_is_delivered_at_once(scene: Scene) -> None:
    """Rows that are due when it starts need no wake."""
    await scene.put(row("t1"), row("t2"))
    deliverer = scene.start()
    await scene.until(lambda: len(scene.events) == 2, "both are delivered")
    assert await scene.state("t1") == WebhookState(status="delivered", attempts=1)
    assert deliverer.counts == {"delivered": 2, "postponed": 0, "dead": 0}


async def test_a_row_that_was_just_committed_goes_out_when_woken(scene: Scene) -> None:
    """Nobody waits for a poll."""
    deliverer = scene.start()
    await asyncio.sleep(0)
    await scene.put(row("t1"))
    deliverer.wake()
    await scene.until(lambda: scene.events, "it is delivered")
    assert scene.events == [("t1", "delivered", "")]


async def test_a_row_that_is_handed_over_is_not_read_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed just now is in memory anyway: the store is not asked."""
    deliverer = scene.start()
    await scene.put(row("t1"))
    deliverer.wake()
    await scene.until(lambda: scene.events, "it has caught up with the store")
    await asyncio.sleep(0)
    await scene.put(row("t2"), row("t3", "http://b.test/"))
    monkeypatch.setattr(scene.store.outbox, "due", None)
    for task_id, url in (("t2", "http://hooks.test/x"), ("t3", "http://b.test/")):
        deliverer.take(row(task_id, url))
        deliverer.take(row(task_id, url))
    await scene.until(lambda: len(scene.events) == 3, "both are delivered")
    assert len(scene.sender.tried) == 3
    assert await scene.state("t3") == WebhookState(status="delivered", attempts=1)


@pytest.mark.parametrize("bound", ["MAX_WAITING", "MAX_WAITING_A_HOST", "MAX_WAITING_BYTES"])
async def test_past_the_bounds_of_the_memory_rows_wait_in_the_store(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """A receiver that hangs fills neither the memory nor anybody's way, and nothing is lost."""
    size = len(row("x").body) if bound.endswith("BYTES") else 1
    monkeypatch.setattr(webhooks, bound, 4 * size)
    scene.sender.open.clear()
    deliverer = scene.start(host_limit=2)
    await scene.until(lambda: deliverer.caught_up, "the store is empty")
    for number in range(1, 31):
        await scene.put(row(f"t{number}"))
        deliverer.take(row(f"t{number}"))
    assert deliverer.waiting <= 4
    assert deliverer.under_way == 2
    scene.sender.open.set()
    await scene.until(lambda: len(scene.events) == 30, "all are delivered")
    assert len(scene.sender.tried) == len(set(scene.sender.tried)) == 30
    await scene.until(lambda: deliverer.caught_up, "new rows are taken again")


def _bound(monkeypatch: pytest.MonkeyPatch, of_all: int, of_a_host: int) -> None:
    """Let so many of the tests' rows wait."""
    size = len(row("x").body)
    monkeypatch.setattr(webhooks, "MAX_WAITING_BYTES", of_all * size)
    monkeypatch.setattr(webhooks, "MAX_WAITING_BYTES_A_HOST", of_a_host * size)


async def test_bodies_that_the_store_has_are_not_all_read_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog fills the memory to its bound and no further, whatever its hosts are."""
    _bound(monkeypatch, 4, 4)
    scene.sender.open.clear()
    await scene.put(*(row(f"t{n}", f"http://h{n % 15}.test/") for n in range(1, 31)))
    deliverer = scene.start(limit=2)
    await scene.until(lambda: deliverer.waiting >= 4, "the memory is full")
    await asyncio.sleep(0)
    assert (deliverer.waiting, deliverer.under_way) == (4, 2)
    scene.sender.open.set()
    await scene.until(lambda: len(scene.events) == 30, "all are delivered")
    assert len(set(scene.sender.tried)) == len(scene.sender.tried) == 30


async def test_a_body_past_the_bound_waits_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must go out, too."""
    _bound(monkeypatch, 0, 0)
    scene.sender.open.clear()
    await scene.put(*(row(f"t{n}") for n in range(1, 6)))
    deliverer = scene.start(limit=1)
    await scene.until(lambda: deliverer.waiting, "one waits beside the one that is tried")
    await asyncio.sleep(0)
    assert deliverer.waiting == 1
    scene.sender.open.set()
    await scene.until(lambda: len(scene.events) == 5, "all are delivered")


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_slow_host_with_large_bodies_leaves_room_for_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, handed_over: bool
) -> None:
    """A host has a part of the bytes, as it has a part of the tries."""
    _bound(monkeypatch, 8, 2)
    slow = "http://slow.test/x"
    scene.sender.held_urls = {slow}
    scene.sender.open.clear()
    rows = [*(row(f"t{n}", slow) for n in range(1, 31)), row("t99", "http://quick.test/")]
    if not handed_over:
        await scene.put(*rows)
    deliverer = scene.start(host_limit=3)
    if handed_over:
        await scene.until(lambda: deliverer.caught_up, "the store is empty")
        await scene.put(*rows)
        for each in rows:
            deliverer.take(each)
    await scene.until(lambda: scene.events, "the quick one is delivered")
    assert (scene.events, deliverer.waiting) == ([("t99", "delivered", "")], 2)
    scene.sender.open.set()
    await scene.until(lambda: len(scene.events) == 31, "all are delivered")


async def test_a_memory_that_was_full_is_filled_again_when_half_of_it_has_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when a host has nothing left: others wait in the store."""
    _bound(monkeypatch, 4, 4)
    send, turns = scene.sender.send, asyncio.Semaphore(0)

    async def in_turn(**given: object) -> Sent:
        await turns.acquire()
        return await send(**given)  # pyright: ignore[reportArgumentType] passed on

    monkeypatch.setattr(scene.sender, "send", in_turn)
    await scene.put(*(row(f"t{n}") for n in range(1, 21)), row("t99", "http://z.test/"))
    deliverer = scene.start(limit=1)
    await scene.until(lambda: deliverer.waiting == 4, "the memory is full")
    for tries in (1, 2):
        turns.release()
        await scene.until(lambda tries=tries: len(scene.events) == tries, "a try has ended")
    await scene.until(lambda: deliverer.waiting == 3, "the row of the other host is here")
    for _ in range(19):
        turns.release()
    await scene.until(lambda: len(scene.events) == 21, "all are delivered")


async def test_a_row_that_is_settled_while_the_store_is_read_is_not_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader shows may be older than what we know."""
    deliverer = scene.start()
    await scene.until(lambda: deliverer.caught_up, "the store is empty")
    read, reading, go_on = scene.store.outbox.due, asyncio.Event(), asyncio.Event()

    async def slow(*given: object, **chosen: object) -> Sequence[OutboxRow]:
        old = await read(*given, **chosen)  # pyright: ignore[reportArgumentType] passed on
        reading.set()
        await go_on.wait()
        return old

    await scene.put(row("t1"))
    monkeypatch.setattr(scene.store.outbox, "due", slow)
    deliverer.wake()
    await reading.wait()
    deliverer.take(row("t1"))
    await scene.until(lambda: scene.events, "it is delivered while the store is read")
    go_on.set()
    await scene.until(lambda: deliverer.caught_up, "the store has been read")
    assert scene.sender.tried == [("msg_t1", "http://hooks.test/x")]


async def test_a_sender_that_breaks_costs_no_webhook(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours is reported, and the webhook is tried again after a while."""
    monkeypatch.setattr(webhooks, "STORE_RETRY_S", 0.02)
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    send, broken = scene.sender.send, [True]

    async def break_once(**given: object) -> Sent:
        if broken.pop() if broken else False:
            raise ZeroDivisionError
        return await send(**given)  # pyright: ignore[reportArgumentType] passed on

    monkeypatch.setattr(scene.sender, "send", break_once)
    await scene.put(row("t1"), row("t2"))
    scene.start(host_limit=1)
    await scene.until(lambda: len(scene.events) == 2, "both are delivered")
    assert [context["message"] for context in told] == ["webhook try failed"]


async def test_an_observer_that_breaks_stops_no_webhook(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tries that waited for the end of this one begin all the same."""
    monkeypatch.setattr(webhooks, "MAX_SETTLING", 1)
    asyncio.get_running_loop().set_exception_handler(lambda _, __: None)
    seen: list[str] = []

    def observe(row: OutboxRow, event: str, error: str) -> None:
        seen.append(f"{row.task_id} {event} {error}")
        raise ZeroDivisionError

    deliverer = WebhookDeliverer(
        scene.store.outbox, scene.sender, WebhookPolicy(), clock=scene.clock, chance=FullJitter(),
        observe=observe, limit=1,
    )  # fmt: skip
    scene.started.append(deliverer)
    await scene.put(row("t1"), row("t2"), row("t3"))
    deliverer.start()
    await scene.until(lambda: len(seen) == 3, "all are delivered")
    assert seen == ["t1 delivered ", "t2 delivered ", "t3 delivered "]


async def test_a_failed_try_is_made_again_when_its_time_has_come(scene: Scene) -> None:
    """The same webhook id goes out again, after the wait and not before."""
    scene.sender.script["http://hooks.test/x"] = [UNAVAILABLE]
    await scene.put(row("t1"))
    deliverer = scene.start()
    await scene.until(lambda: scene.events, "the first try is recorded")
    state = await scene.state("t1")
    assert state is not None
    assert (state.status, state.attempts) == ("pending", 1)
    assert state.next_at is not None
    assert (state.next_at - START).total_seconds() == 1.0
    scene.clock.advance(0.99)
    await scene.put(row("t2", "http://b.test/"))
    deliverer.wake()
    await scene.until(lambda: len(scene.events) == 2, "it has looked and delivered another row")
    assert scene.sender.tried == [("msg_t1", "http://hooks.test/x"), ("msg_t2", "http://b.test/")]
    scene.clock.advance(0.01)
    deliverer.wake()
    await scene.until(lambda: len(scene.events) == 3, "the second try is recorded")
    assert scene.sender.tried[2:] == [("msg_t1", "http://hooks.test/x")]
    assert await scene.state("t1") == WebhookState(status="delivered", attempts=2)


async def test_after_four_tries_a_webhook_is_a_dead_letter(scene: Scene) -> None:
    """The waits double, and the last error is told in Andera's words."""
    scene.sender.script["http://hooks.test/x"] = [UNAVAILABLE] * 9
    await scene.put(row("t1"))
    deliverer = scene.start()
    for tries, wait_s in ((1, 1), (2, 2), (3, 4)):
        await scene.until(lambda tries=tries: len(scene.events) == tries, f"try {tries}")
        scene.clock.advance(wait_s)
        deliverer.wake()
    await scene.until(lambda: len(scene.events) == 4, "the last try is recorded")
    text = "Failed to send webhook after 4 attempts: Request failed with status code 503"
    assert scene.events[-1] == ("t1", "dead", text)
    assert await scene.state("t1") == WebhookState(status="dead", attempts=4)
    assert deliverer.counts == {"delivered": 0, "postponed": 3, "dead": 1}
    scene.clock.advance(10**6)
    deliverer.wake()
    await scene.put(row("t2", "http://b.test/"))
    deliverer.wake()
    await scene.until(lambda: len(scene.events) == 5, "another one is delivered")
    assert len(scene.sender.tried) == 5


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (Failed("Request failed with status code 410", 410), "Request failed with status code 410"),
        (Refused("x leads to a loopback address"), "x leads to a loopback address"),
    ],
)
async def test_a_receiver_that_is_gone_or_forbidden_is_not_tried_again(
    scene: Scene, sent: Sent, error: str
) -> None:
    """410 and the guard end it at once."""
    scene.sender.script["http://hooks.test/x"] = [sent]
    await scene.put(row("t1"))
    scene.start()
    await scene.until(lambda: scene.events, "it is given up")
    assert scene.events == [("t1", "dead", f"Failed to send webhook after 1 attempt: {error}")]


async def test_a_receiver_is_given_the_time_it_asked_for(scene: Scene) -> None:
    """Retry-After moves the next try."""
    scene.sender.script["http://hooks.test/x"] = [Failed("busy", 429, retry_after_s=90)]
    await scene.put(row("t1"))
    scene.start()
    await scene.until(lambda: scene.events, "the first try is recorded")
    state = await scene.state("t1")
    assert state is not None
    assert state.next_at is not None
    assert (state.next_at - START).total_seconds() == 90


async def test_a_slow_host_has_its_limit_and_stops_nobody_else(scene: Scene) -> None:
    """Hundreds of rows for a host that hangs do not delay the one for another host."""
    slow = "http://slow.test/x"
    scene.sender.held_urls = {slow}
    scene.sender.open.clear()
    await scene.put(*(row(f"t{n}", slow) for n in range(1, 301)))
    await scene.put(row("t999", "http://quick.test/"))
    deliverer = scene.start(limit=10, host_limit=3)
    await scene.until(lambda: scene.events, "the quick one is delivered")
    assert scene.events == [("t999", "delivered", "")]
    assert scene.sender.under_way == [slow] * 3
    scene.sender.open.set()
    await scene.until(lambda: len(scene.events) == 301, "all are delivered")
    assert len(set(scene.sender.tried)) == len(scene.sender.tried) == 301
    await scene.until(lambda: deliverer.under_way == 0, "nothing is under way")


async def test_tries_are_limited_overall(scene: Scene) -> None:
    """However many hosts there are."""
    scene.sender.open.clear()
    await scene.put(*(row(f"t{n}", f"http://h{n}.test/") for n in range(1, 31)))
    scene.start(limit=5)
    await scene.until(lambda: len(scene.sender.under_way) >= 5, "five are under way")
    await asyncio.sleep(0)
    assert len(scene.sender.under_way) == 5
    scene.sender.open.set()
    await scene.until(lambda: len(scene.events) == 30, "all are delivered")


async def test_a_row_under_way_is_not_tried_twice_at_once(scene: Scene) -> None:
    """Waking up while a try is under way begins no second one."""
    scene.sender.open.clear()
    await scene.put(row("t1"))
    deliverer = scene.start()
    await scene.until(lambda: scene.sender.under_way, "the try is under way")
    await scene.put(row("t2", "http://b.test/"))
    deliverer.wake()
    await scene.until(lambda: len(scene.sender.under_way) == 2, "the second row is under way")
    assert len(scene.sender.tried) == 2
    scene.sender.open.set()
    await scene.until(lambda: len(scene.events) == 2, "both are delivered")
    assert len(scene.sender.tried) == 2


async def test_a_try_that_cannot_be_recorded_is_made_again_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: the receiver may see it twice, under one id, and not in a tight circle."""
    monkeypatch.setattr(webhooks, "STORE_RETRY_S", 0.02)
    scene.sender.open.clear()
    await scene.put(row("t1"))
    scene.start()
    await scene.until(lambda: scene.sender.under_way, "the try is under way")
    scene.store.fail()
    scene.sender.open.set()
    await scene.until(lambda: len(scene.sender.tried) >= 2, "it is tried again")
    assert scene.events == []
    assert len(scene.sender.tried) < 10
    scene.store.heal()
    await scene.until(lambda: scene.events, "it is recorded")
    assert scene.events == [("t1", "delivered", "")]
    assert set(scene.sender.tried) == {("msg_t1", "http://hooks.test/x")}


async def test_a_stop_lets_tries_end(scene: Scene) -> None:
    """What a receiver has got is recorded before the process leaves."""
    scene.sender.open.clear()
    await scene.put(row("t1"))
    deliverer = scene.start()
    await scene.until(lambda: scene.sender.under_way, "the try is under way")
    stopping = asyncio.ensure_future(deliverer.stop())
    await asyncio.sleep(0)
    scene.sender.open.set()
    await stopping
    assert scene.events == [("t1", "delivered", "")]


async def test_a_try_that_was_cut_is_made_by_the_next_process(scene: Scene) -> None:
    """No attempt is counted for it, and the id stays."""
    scene.sender.open.clear()
    await scene.put(row("t1"))
    first = scene.start()
    await scene.until(lambda: scene.sender.under_way, "the try is under way")
    await first.stop(grace_s=0)
    assert first.under_way == 0
    state = await scene.state("t1")
    assert state is not None
    assert (state.status, state.attempts) == ("pending", 0)
    scene.sender.open.set()
    scene.start()
    await scene.until(lambda: scene.events, "it is delivered")
    assert scene.sender.tried == [("msg_t1", "http://hooks.test/x")] * 2


async def test_stopping_what_never_started_is_fine(scene: Scene) -> None:
    """A process may fail before its start is complete."""
    deliverer = WebhookDeliverer(
        scene.store.outbox, scene.sender, WebhookPolicy(), clock=scene.clock, chance=FullJitter()
    )
    await deliverer.stop()
