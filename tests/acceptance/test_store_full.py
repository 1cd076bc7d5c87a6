"""A disk without room: what is durable is refused until there is room again, calls go on."""

from __future__ import annotations

import resource
import sys

import pytest

from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import Bench
from tests.fakes.waiting import wait_until

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process"),
]

# Less than the database has already: the kernel refuses every write past it (EFBIG; CPython ignores the
# signal that would come first), as a full disk does.
NO_ROOM = 16 * 1024


def limit_files(pid: int, size: int) -> None:
    """Let a process write no file beyond this size."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


async def test_a_full_disk_stops_what_is_durable_and_nothing_else(
    bench: Bench, hooks: HookReceiver
) -> None:
    """Submits get 503 with Retry-After, calls are answered, and nothing that was accepted is lost."""
    balancer, _ = await bench.fleet(settings={"LOG_LEVEL": "error"})
    early = await bench.submit("hold", "early", hooks.url("/early"))
    await bench.told("early")

    limit_files(balancer.pid, NO_ROOM)
    webhook = {"mode": "webhook", "webhook": {"url": hooks.url("/refused")}}
    refused = await bench.call("note", "refused", **webhook)
    assert (refused.status, refused.json["code"]) == (503, "store_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await bench.call("note", "call")).status == 200
    health = (await bench.request("GET", "/health")).json
    assert health["services"] == {"store": "unavailable", "roster": "ready"}
    bench.open_gate("early")  # ends while its end cannot be kept
    await bench.told("early", "end")

    limit_files(balancer.pid, resource.RLIM_INFINITY)

    late: list[str] = []

    async def accepted() -> bool:
        reply = await bench.call(
            "note", "late", mode="webhook", webhook={"url": hooks.url("/late")}
        )
        late.extend([str(reply.json["task_id"])] if reply.status == 202 else [])
        return bool(late)

    await wait_until(accepted, "the store takes tasks again", 20)
    async with bench.client() as client:
        ended = [await client.wait(task_id, 20) for task_id in (early, *late)]
    assert [task.status for task in ended] == ["succeeded", "succeeded"]
    await wait_until(lambda: len(hooks.received) >= 2, "both webhooks come")
    assert sorted(each.path for each in hooks.received) == ["/early", "/late"]
    assert len(bench.ledger(name="early")) == 1
    assert bench.ledger(name="refused") == []
