"""A balancer and a worker for link machines that are lied to: they believe what they may, and watch the rules.

What a machine promises its handler is asserted here, whatever came over the wire: nothing after the
end of a link, a slot reserved before it is used and given back once, bodies as long as announced.
"""

from __future__ import annotations

from shared.protocol.link import MAX_PROBLEM
from shared.protocol.messages import (
    Chunk,
    Dispatch,
    Event,
    Facts,
    Finished,
    Goodbye,
    Hello,
    Refused,
    Report,
    Welcome,
)
from tests.unit.shared.protocol.engines import BalancerEngine, WorkerEngine


class WaryBalancer(BalancerEngine):
    """Takes nothing from a link that is over, and nothing that it did not announce."""

    def __init__(self) -> None:
        super().__init__()
        self.over = True
        self.pieces = 0

    def welcomed(self, welcome: Welcome) -> None:
        """Begin, once a link."""
        assert self.over, "two Welcomes on one link"
        self.over = False
        super().welcomed(welcome)

    def reported(self, report: Report) -> None:
        """Take slots that add up."""
        self._alive()
        assert min(report.available, report.limit, report.used) >= 0
        assert self.link is not None
        assert 0 <= report.seen <= self.link.sent
        super().reported(report)

    def refused(self, refused: Refused) -> None:
        """Take a dispatch back."""
        self._alive()
        super().refused(refused)

    def chunk(self, chunk: Chunk) -> None:
        """Take a piece, and let the stream go on."""
        self._alive()
        assert not chunk.more or chunk.data, "a part of a piece was shown as the whole"
        self.pieces += 1
        assert self.link is not None
        self.link.credit(chunk.token, len(chunk.data))

    def finished(self, finished: Finished, result: bytes | None) -> None:
        """Take a result by its token, whatever task somebody has said that it is of."""
        self._alive()
        assert finished.body_size == 0 or len(result or b"") == finished.body_size
        for task in self.tasks.values():
            if task.token == finished.token:
                task.results.append(result)
                task.token = None
        assert self.link is not None
        self.link.ack(finished.token)

    def facts(self, facts: Facts) -> None:
        """Take facts."""
        self._alive()

    def event(self, event: Event) -> None:
        """Take an event."""
        self._alive()

    def broken(self, code: str, message: str) -> None:
        """Note the end."""
        assert max(len(code), len(message)) <= MAX_PROBLEM
        self.lost()

    def lost(self) -> None:
        """Take nothing more until the next Welcome."""
        self.over = True

    def _alive(self) -> None:
        assert not self.over, "told something by a link that is over, or not up"


class WaryWorker(WorkerEngine):
    """Runs nothing without a slot, gives each slot back once."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.over = True
        self.streamed: dict[str, int] = {}  # pieces by token

    def hello(self, hello: Hello) -> Welcome | Goodbye | None:
        """Begin, once a link."""
        assert self.over, "two Hellos on one link"
        self.over = False
        return super().hello(hello)

    def reserve(self, dispatch: Dispatch) -> str | None:
        """Take a slot for a token that is new; one token twice is a lie."""
        self._alive()
        if dispatch.token in self.reserved or dispatch.token in self.running:
            return "no_slot"
        refusal = super().reserve(dispatch)
        if refusal is None and dispatch.input is not None:
            assert dispatch.body_size == 0
        return refusal

    def dispatch(self, dispatch: Dispatch, input: bytes) -> None:
        """Begin; the slot was reserved, which the engine asserts."""
        self._alive()
        if dispatch.body_size:
            assert len(input) + len(dispatch.metadata or b"") == dispatch.body_size
        super().dispatch(dispatch, input)

    def piece(self, token: str, data: bytes) -> None:
        """Send a piece of a stream."""
        self.streamed[token] = self.streamed.get(token, 0) + 1
        assert self.link is not None
        assert self.link.chunk(token, self.streamed[token], "bytes", data)

    def acked(self, tokens: list[str]) -> None:
        """Forget results."""
        self._alive()
        super().acked(tokens)

    def credit(self, token: str, size: int) -> None:
        """Take credit."""
        self._alive()
        assert size >= 0

    def demand(self, count: int, best_priority: float) -> None:
        """Take demand."""
        self._alive()
        assert count >= 0
        assert best_priority >= 0

    def maintenance(self, on: bool) -> None:
        """Take an order."""
        self._alive()

    def broken(self, code: str, message: str) -> None:
        """Note the end."""
        assert max(len(code), len(message)) <= MAX_PROBLEM
        self.over = True

    def lost(self) -> None:
        """Note the end of the socket: every reservation was given back."""
        self.over = True
        assert not self.reserved, "a slot was reserved for a body of a link that is gone"

    def _alive(self) -> None:
        assert not self.over, "told something by a link that is over, or not up"
