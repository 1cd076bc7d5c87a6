"""What stands behind the lane in one process."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Protocol

from shared.edge.answers import Answer
from shared.errors import Failure

if TYPE_CHECKING:
    from shared.edge.headers import EdgeHeaders
    from shared.task import Sink

Taken = str | Failure | Coroutine[object, object, Answer] | None


class Desk(Protocol):
    """What stands behind the lane in one process; calls are synchronous.

    Headers may belong to many requests that said the same, so a correlation id comes beside them.
    """

    def authorize(self, headers: EdgeHeaders) -> Failure | None:
        """Return why the caller may not submit, or None; without side effects."""
        ...

    def refused(self, reason: Failure, correlation_id: str) -> None:
        """Note that a caller was told what `authorize` said."""
        ...

    def take(
        self, body: bytes | bytearray, headers: EdgeHeaders, correlation_id: str, sink: Sink
    ) -> Taken:
        """Take a request; its body is not changed while the call lasts.

        Returns:
            the id of a task whose end the sink will hear; or why there is none; or what comes to the
            answer by waiting, which is cancelled when the caller leaves; or None: the request is none
            for this lane, and nothing has happened.
        """
        ...

    def left(self, task_id: str) -> None:
        """Cancel a task whose caller is gone."""
        ...
