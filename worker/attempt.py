"""One attempt with everything that running it takes: the pure execution, its function, its owner.

The owner is who wants the outcome: a balancer (`worker.session.Peer`), or the worker's own direct
tasks (`worker.direct.DirectTasks`). It outlives links, so an attempt does not care about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from worker.core.execution import Execution

if TYPE_CHECKING:
    from shared.ids import TaskId, Token
    from shared.task import Outcome, Piece
    from worker.authoring.task_function import Function
    from worker.channel import AttemptChannel


class Owner(Protocol):
    """Who wants the outcome of an attempt. Called on the loop; must not raise."""

    def piece(self, attempt: Attempt, piece: Piece) -> None:
        """Take a piece of the stream, within the credit."""
        ...

    def event(self, attempt: Attempt, name: str, data: bytes) -> None:
        """Take what the function published with `ctx.emit`."""
        ...

    def decided(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take the decision; comes exactly once, after the last piece."""
        ...


class Run(Protocol):
    """Code that runs."""

    def stop(self) -> None:
        """Make it end as soon as it can be made to; the runner still reports its end."""
        ...


class Attempt(Execution):
    """One attempt of a task in a slot of this worker.

    Attributes:
        definition: the function.
        owner: who wants the outcome.
        run: the running code; None before it starts and while there is none.
        channel: what its context talks through; None when the function cannot talk.
        streams: its pieces have a reader.
        credit: bytes of pieces that the reader takes before it grants more.
        metadata: JSON text that the caller attached.
        correlation_id: of the request.
        number: of the dispatch on the link that brought it.
        seconds: from its beginning to its decision; set before the owner is told.
    """

    __slots__ = (
        "channel",
        "correlation_id",
        "credit",
        "definition",
        "metadata",
        "number",
        "owner",
        "run",
        "seconds",
        "streams",
    )

    def __init__(
        self,
        token: Token,
        task_id: TaskId,
        definition: Function[..., object],
        owner: Owner,
        attempt: int = 1,
        durable: bool = False,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        streams: bool = False,
        credit: int = 0,
        metadata: bytes | None = None,
        correlation_id: str = "",
        number: int = 0,
    ) -> None:
        Execution.__init__(  # by name: `super()` would cost every attempt an object more
            self, token, task_id, definition.name, attempt, durable, timeout_s, deadline_s
        )
        self.definition = definition
        self.owner = owner
        self.run: Run | None = None
        self.channel: AttemptChannel | None = None
        self.streams = streams
        self.credit = credit
        self.metadata = metadata
        self.correlation_id = correlation_id
        self.number = number
        self.seconds = 0.0
