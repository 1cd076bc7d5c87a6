"""Writes the lines of tasks to the stream, in small batches off the path that made them."""

from __future__ import annotations

import asyncio
import atexit
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from shared.log_ring import iso, one_line
from shared.redaction import redacted_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import Processor

    from shared.log_ring import Entry

# Task lines are written in small batches, so that no batch stalls the tasks for longer than a
# quarter of a millisecond, and at most 200 a second: 1 % of a core at 50 µs a line, whatever the load.
FLUSH_S = 0.025
MAX_BATCH = 5
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

    Attributes:
        room: entries that it takes before its next batch.
        skipped: entries that were left out since it was last told.
    """

    def __init__(self, out: TextIO, render: Processor, skipped: Callable[[int], None]) -> None:
        self.room = MAX_BATCH
        self.skipped = 0
        self._out = out
        self._render = render
        self._say_skipped = skipped
        self._waiting: list[Entry] = []
        self._scheduled = False
        self._telling = False
        atexit.register(self.flush)

    def offer(self, entry: Entry) -> None:
        """Take an entry; past a bound only its number is written."""
        if not self.room:
            self.skipped += 1
            return
        self.room -= 1
        self._waiting.append(entry)
        if not self._scheduled:
            self._scheduled = self._later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        self._scheduled = False
        waiting, self._waiting = self._waiting, []
        self.room = MAX_BATCH
        write_to(self._out, "".join(f"{self._text(entry)}\n" for entry in waiting))
        if self.skipped and not self._telling:
            self._telling = self._later(SKIPPED_S, self._tell_skipped)

    def _tell_skipped(self) -> None:
        self._telling = False
        count, self.skipped = self.skipped, 0
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
