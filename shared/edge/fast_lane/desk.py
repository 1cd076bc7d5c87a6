"""What stands behind the lane in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.edge.headers import EdgeHeaders
    from shared.errors import Failure
    from shared.task import Sink


class Desk(Protocol):
    """What stands behind the lane in one process; calls are synchronous and do not raise."""

    def authorize(self, headers: EdgeHeaders) -> Failure | None:
        """Return why the caller may not submit, or None."""
        ...

    def take(self, body: bytes, headers: EdgeHeaders, sink: Sink) -> str | Failure | None:
        """Submit a sync task and return its id, or why not.

        None means that the request is none for this lane, and that nothing has happened.
        """
        ...

    def left(self, task_id: str) -> None:
        """Cancel a task whose caller is gone."""
        ...
