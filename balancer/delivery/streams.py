"""Streams that a reader may come back to: the SSE sinks of running and lately ended tasks, by task id."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from shared.edge.stream_format import StreamFormat

if TYPE_CHECKING:
    from shared.edge.streams import StreamSink

KEPT = 1000  # streams, each with a ring of 1 MiB at the most; running ones are kept beyond
LOOKS = 16  # how many of the oldest are looked at when a stream is added


class Streams:
    """Sinks by task id, the oldest first."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._sinks: OrderedDict[str, StreamSink] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sinks)

    def add(self, sink: StreamSink) -> None:
        """Remember a stream that was submitted; only SSE can be taken up again."""
        if sink.form is not StreamFormat.SSE:
            return
        self._sinks[sink.task_id] = sink
        for _ in range(LOOKS):
            if len(self._sinks) <= self._kept:
                return
            task_id, oldest = self._sinks.popitem(last=False)
            if oldest.outcome is None:  # still running: it counts as new
                self._sinks[task_id] = oldest

    def get(self, task_id: str) -> StreamSink | None:
        """Return a stream that may be read."""
        return self._sinks.get(task_id)
