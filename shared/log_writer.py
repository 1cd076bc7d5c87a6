"""Writes the lines of tasks to the stream, in small batches off the path that made them."""

from __future__ import annotations

import asyncio
import atexit
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from shared.log_ring import iso, one_line
from shared.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import Processor

    from shared.log_ring import Entry

# Task lines are written in small batches, so that no batch stalls the tasks for longer than half a
# millisecond, and at most 400 a second: 2 % of a core at 50 µs a line, whatever the load.
FLUSH_S = 0.025
MAX_BATCH = 10
SKIPPED_S = 1.0  # how often it is told how many lines were left out


def write_to(out: TextIO, text: str) -> None:
    """Write to the stream; one that cannot be written (closed, full) must not end what goes on."""
    with suppress(OSError, ValueError):
        out.write(text)
        out.flush()


class BatchWriter:
    """Takes the entries of tasks (`shared.log_ring.Writer`).

    Args:
        out: the stream.
        render: makes a line of an event.
        skipped: told how many lines were left out.
    """

    def __init__(self, out: TextIO, render: Processor, skipped: Callable[[int], None]) -> None:
        self._out = out
        self._render = render
        self._say_skipped = skipped
        self._waiting: deque[Entry] = deque()
        self._skipped = 0
        self._scheduled = False
        atexit.register(self.flush)

    def offer(self, entry: Entry) -> None:
        """Take an entry; past a bound only its number is written."""
        if len(self._waiting) >= MAX_BATCH:
            self._skip()
            return
        self._waiting.append(entry)
        if not self._scheduled:
            self._scheduled = self._later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        self._scheduled = False
        waiting, self._waiting = self._waiting, deque()
        write_to(self._out, "".join(f"{self._text(entry)}\n" for entry in waiting))

    def _skip(self) -> None:
        self._skipped += 1
        if self._skipped == 1:
            self._later(SKIPPED_S, self._tell_skipped)

    def _tell_skipped(self) -> None:
        count, self._skipped = self._skipped, 0
        self._say_skipped(count)

    def _later(self, delay_s: float, call: Callable[[], None]) -> bool:
        """Call later; at once when no loop runs, because then nobody is kept waiting."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            call()
            return False
        loop.call_later(delay_s, call)
        return True

    def _text(self, entry: Entry) -> str:
        event: dict[str, object] = {
            "timestamp": iso(entry.at), "level": entry.level, "prefix": entry.prefix.lower(),
            "event": one_line(entry.text), "action": entry.action, "task_id": entry.task_id,
            **{name: value for name, value in entry.fields.items() if value != ""},
        }  # fmt: skip
        # The names of a task's fields are ours, so secrets can only be in what they hold: one look
        # at the whole line finds them.
        return redacted_text(str(self._render(None, entry.level, event)))
