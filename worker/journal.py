"""The log lines of attempts: fields on the hot path, text when somebody reads them.

A line of structlog costs as much as a whole small task, so lines go to the ring as fields
(`shared.log_ring`). Inputs are left out unless the function says `log_input=True`, results when it
says `log_result=False`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.log import Log
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from shared.log import LogRing
    from shared.task import Outcome
    from worker.attempt import Attempt

MAX_SHOWN = 2000  # bytes of an input or a result in a line

_ACTIONS = {status: f"task.{status}" for status in TaskStatus}
_FIELDS = ("function", "seconds", "attempt", "correlation_id")
_RESULT_FIELDS = (*_FIELDS, "result")
_CODE_FIELDS = (*_FIELDS, "code")
_FAILED_FIELDS = (*_FIELDS, "code", "error")

_log = Log("task")


class Journal:
    """Writes one line when an attempt begins and one when it is decided.

    Args:
        ring: where lines go; None writes none.
    """

    __slots__ = ("_ring",)

    def __init__(self, ring: LogRing | None = None) -> None:
        self._ring = ring

    def began(self, attempt: Attempt, raw: bytes) -> None:
        """Note that an attempt begins with this input."""
        if attempt.definition.config.log_input:
            _write_input(attempt, raw)
        ring = self._ring
        if ring is not None and "task.started" in ring.kept:
            ring.task_line(
                "task.started",
                attempt.task_id,
                function=attempt.function,
                worker="this worker",
                attempt=attempt.attempt,
                correlation_id=attempt.correlation_id,
            )

    def decided(self, attempt: Attempt, outcome: Outcome, now_s: float) -> None:
        """Note how an attempt was decided."""
        ring = self._ring
        action = _ACTIONS[outcome.status]
        if ring is None or action not in ring.kept:
            return
        names = _FIELDS
        values: tuple[object, ...] = (
            attempt.function, attempt.seconds, attempt.attempt, attempt.correlation_id,
        )  # fmt: skip
        failed = outcome.failure
        if failed is not None:
            if failed.code == "invalid_params":  # its text may quote the input
                names, values = _CODE_FIELDS, (*values, failed.code)
            else:
                names, values = _FAILED_FIELDS, (*values, failed.code, failed.message)
        elif outcome.result is not None and attempt.definition.config.log_result:
            names, values = _RESULT_FIELDS, (*values, _shown(outcome.result))
        ring.note_task(action, attempt.task_id, names, values, now_s)


def _write_input(attempt: Attempt, raw: bytes) -> None:
    _log.info(
        f"'{attempt.function}' begins",
        task_id=attempt.task_id,
        correlation_id=attempt.correlation_id,
        input=_shown(raw),
        log_input=True,
    )


def _shown(text: bytes) -> str:
    if len(text) <= MAX_SHOWN:
        return text.decode("utf-8", "replace")
    return f"{text[:MAX_SHOWN].decode('utf-8', 'replace')}… ({len(text)} bytes)"
