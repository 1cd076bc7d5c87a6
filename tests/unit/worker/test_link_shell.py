"""The shell of a link over a socket of the test's own: what only happens when a balancer does not read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from shared.protocol.codec import Decoder
from shared.protocol.messages import FromWorker, Goodbye
from shared.protocol.worker_link import WorkerLink
from shared.system import SystemClock
from tests.fakes.waiting import wait_until
from tests.unit.worker.link_bed import link_bed
from worker.link import LinkShell
from worker.session import LinkSession

if TYPE_CHECKING:
    from shared.edge.link_socket import LinkSocket


class Slow:
    """A socket whose peer takes nothing until it is told to."""

    def __init__(self) -> None:
        self.full = True
        self.sent: list[bytes] = []
        self.closed = False

    def send(self, data: bytes) -> None:
        """Keep it."""
        self.sent.append(data)

    async def close(self) -> None:
        """Note it."""
        self.closed = True


async def test_a_goodbye_waits_for_room() -> None:
    """A socket that is full when the link ends on purpose is written to once it has room again."""
    async with link_bed() as bed:
        shell, socket = LinkShell(SystemClock()), Slow()
        session = LinkSession(bed.peers)
        link = session.link = WorkerLink(session, shell)
        serving = asyncio.ensure_future(shell.serve(session, cast("LinkSocket", socket)))
        await asyncio.sleep(0)
        link.goodbye("shutting_down", "the worker stops")
        for _ in range(5):
            await asyncio.sleep(0)
        assert not serving.done()
        socket.full = False
        shell.writable()
        await wait_until(serving.done, "the link has ended")
        await serving
    messages = Decoder(FromWorker).decode(socket.sent[0])
    assert isinstance(messages, list)
    assert [type(message) for message in messages] == [Goodbye]
    assert socket.closed
