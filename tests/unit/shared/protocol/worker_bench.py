"""A worker's machine on a bench: what its tests say to it, and what they hear."""

from __future__ import annotations

import msgspec

from shared.protocol import messages as m
from shared.protocol.codec import Decoder, encode
from shared.protocol.worker_link import WorkerLink
from tests.fakes.link_pair import FakeWire
from tests.unit.shared.protocol.recorders import RecordingWorker

AT_BALANCER = Decoder(m.FromWorker)
HELLO = m.Hello(1, 1, "b", "boot")


class Bench:
    """One machine, its handler, its wire, and a tester in the balancer's place."""

    def __init__(self, *, up: bool = True) -> None:
        self.handler = RecordingWorker()
        self.wire = FakeWire()
        self.link = WorkerLink(
            self.handler, self.wire, heartbeat_interval_s=3.0, heartbeat_timeout_s=3.0
        )
        self.link.opened(100.0)
        if up:
            self.say(HELLO)
            self.sent()
            self.handler.told.clear()

    def say(self, *messages: m.Message) -> None:
        """Let a frame of the balancer arrive."""
        self.link.receive(encode(messages), 100.0)

    def frames(self) -> list[list[m.Message]]:
        """Return the frames that the machine has sent since the last look."""
        if not self.wire.awake:
            return []
        self.wire.awake = False
        frames: list[list[m.Message]] = []
        for frame in iter(self.link.flush, None):
            found = AT_BALANCER.decode(frame)
            assert isinstance(found, list), found
            frames.append([each for each in found if isinstance(each, m.Message)])
        return frames

    def sent(self) -> list[m.Message]:
        """Return what the machine has sent since the last look."""
        return [message for frame in self.frames() for message in frame]


def dispatch(n: int = 1, token: str | None = None, **more: object) -> m.Dispatch:
    """Return a dispatch."""
    token = token or f"t{n}"
    return msgspec.structs.replace(
        m.Dispatch(n, token, f"id-{token}", "hello", "sync", b"{}"), **more
    )


def ending(token: str = "t1", status: str = "succeeded", **more: object) -> m.Finished:
    """Return the end of an attempt."""
    return msgspec.structs.replace(m.Finished(token, f"id-{token}", status), **more)
