"""Streams that a reader may come back to: the SSE sinks of running and lately ended tasks, by task id."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from shared.edge.stream_format import StreamFormat

if TYPE_CHECKING:
    from shared.edge.streams import StreamSink

KEPT = 1000  # streams; running ones are kept beyond
KEPT_BYTES = 64 * 1024**2  # of their events; a single one may have 1 MiB of sent ones
LOOKS = 16  # how many of the oldest are looked at when a stream is added


class Streams:
    """Sinks by task id, the oldest first.

    Args:
        kept: streams that are kept.
        kept_bytes: bytes of their events. They change while a stream runs, so they are summed up anew
            now and then: at each `LOOKS`th stream.
    """

    def __init__(self, kept: int = KEPT, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._sinks: OrderedDict[str, StreamSink] = OrderedDict()
        self._added = 0

    def __len__(self) -> int:
        return len(self._sinks)

    def add(self, sink: StreamSink) -> None:
        """Remember a stream that was submitted; only SSE can be taken up again."""
        if sink.form is not StreamFormat.SSE:
            return
        self._sinks[sink.task_id] = sink
        self._added += 1
        if self._added % LOOKS == 0:
            excess = sum(each.held_bytes for each in self._sinks.values()) - self._kept_bytes
            self._forget(len(self._sinks), excess)
        else:
            self._forget(LOOKS, 0)

    def get(self, task_id: str) -> StreamSink | None:
        """Return a stream that may be read."""
        return self._sinks.get(task_id)

    def _forget(self, looks: int, excess: int) -> None:
        """Forget the oldest that have ended, until the rest is few enough and so many bytes are gone."""
        for _ in range(looks):
            if len(self._sinks) <= self._kept and excess <= 0:
                return
            task_id, oldest = self._sinks.popitem(last=False)
            if oldest.outcome is None:  # still running: it counts as new
                self._sinks[task_id] = oldest
            else:
                excess -= oldest.held_bytes
