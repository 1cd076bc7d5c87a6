"""The log lines of tasks: collected as tuples on the hot path, written off it.

A line of structlog costs as much as a whole small task, so attempts only leave a tuple here, and the
engine's tick writes them down. Inputs are left out unless the function says `log_input=True`,
results when it says `log_result=False`; the worker's own ring of lines (`/logs`) gets the same.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, cast

import structlog

from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from shared.task import Outcome
    from worker.attempt import Attempt

MAX_WAITING = 20_000  # lines between two ticks; beyond it the oldest are lost and counted
MAX_SHOWN = 2000  # bytes of an input or a result in a line


class Journal:
    """Writes one line when an attempt begins and one when it is decided."""

    __slots__ = ("_lines", "lost")

    def __init__(self) -> None:
        self._lines: deque[tuple[Attempt, bytes | None, Outcome | None]] = deque()
        self.lost = 0

    def began(self, attempt: Attempt, raw: bytes) -> None:
        """Note that an attempt begins with this input."""
        self._add((attempt, raw if attempt.definition.config.log_input else None, None))

    def decided(self, attempt: Attempt, outcome: Outcome) -> None:
        """Note how an attempt was decided."""
        self._add((attempt, None, outcome))

    def flush(self) -> None:
        """Write the lines down."""
        if not self._lines:
            return
        log = cast("FilteringBoundLogger", structlog.get_logger("task").bind())
        while self._lines:
            attempt, raw, outcome = self._lines.popleft()
            if outcome is None:
                _write_began(log, attempt, raw)
            else:
                _write_decided(log, attempt, outcome)

    def _add(self, line: tuple[Attempt, bytes | None, Outcome | None]) -> None:
        if len(self._lines) >= MAX_WAITING:
            self._lines.popleft()
            self.lost += 1
        self._lines.append(line)


def _write_began(log: FilteringBoundLogger, attempt: Attempt, raw: bytes | None) -> None:
    level = logging.DEBUG if raw is None else logging.INFO
    if log.is_enabled_for(level):
        fields = _fields(attempt)
        if raw is not None:
            fields["input"] = _shown(raw)
        log.log(level, "task started", **fields)


def _write_decided(log: FilteringBoundLogger, attempt: Attempt, outcome: Outcome) -> None:
    level = logging.INFO if outcome.status is TaskStatus.SUCCEEDED else logging.WARNING
    if not log.is_enabled_for(level):
        return
    fields = _fields(attempt)
    fields["status"] = str(outcome.status)
    fields["seconds"] = round(attempt.seconds, 6)
    if outcome.result is not None and attempt.definition.config.log_result:
        fields["result"] = _shown(outcome.result)
    if outcome.failure is not None:
        fields["code"] = outcome.failure.code
        fields["error"] = outcome.failure.message
    log.log(level, "task ended", **fields)


def _fields(attempt: Attempt) -> dict[str, object]:
    return {
        "task_id": attempt.task_id,
        "function": attempt.function,
        "attempt": attempt.attempt,
        "correlation_id": attempt.correlation_id,
    }


def _shown(text: bytes) -> str:
    shown = text[:MAX_SHOWN].decode("utf-8", "replace")
    return shown if len(text) <= MAX_SHOWN else f"{shown}… ({len(text)} bytes)"
