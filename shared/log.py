"""Logs: structlog for what people read, and a ring of the last lines for `GET /logs`.

A console in a terminal, JSON lines otherwise; the standard library's loggers (aiohttp, asyncio) take
the same way. Secrets are removed before anything is kept or written. What happens to each task goes
another way, because a structlog line costs more than the hot path has (DESIGN §6): it is kept as
fields, which become text only when somebody reads the ring, or in batches for the stream.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TextIO

import msgspec
import structlog

from shared.log_ring import LogQuery, LogRing, Subscription, iso, one_line
from shared.log_writer import BatchWriter, write_to
from shared.redaction import redacted, redacted_text
from shared.task_state import TERMINAL, TaskEvent
from shared.telemetry import EVENTS, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, Processor

    from shared.clock import Clock
    from shared.ids import LaneKey

__all__ = [
    "EventLog",
    "Log",
    "LogQuery",
    "LogRing",
    "Subscription",
    "TaskLog",
    "correlation_id",
    "setup_logging",
]

# The id of the request in whose context code runs; on every line that it writes.
correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")

_STDLIB_LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
_NAMES = {"warning": "warn", "critical": "error", "exception": "error"}  # structlog's → ours


class EventLog(Protocol):
    """What takes events of the catalogue; `Log` does."""

    def event(self, action: str, /, **fields: object) -> None:
        """Write an event, with its fields."""
        ...


class Log:
    """Writes what people read; one a module: `log = Log("fleet")`.

    Args:
        prefix: what of the process speaks.
    """

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def event(self, action: str, /, **fields: object) -> None:
        """Write an event of the catalogue, with its level and text."""
        row = EVENTS[action]
        self.write(row.level, describe(action, redacted(fields)), {"action": action, **fields})

    def debug(self, text: str, /, **fields: object) -> None:
        """Write a line for developers."""
        self.write("debug", text, fields)

    def info(self, text: str, /, **fields: object) -> None:
        """Write a line for operators."""
        self.write("info", text, fields)

    def warning(self, text: str, /, **fields: object) -> None:
        """Write that something is not as it should be."""
        self.write("warn", text, fields)

    def error(self, text: str, /, **fields: object) -> None:
        """Write that something has failed."""
        self.write("error", text, fields)

    def exception(self, text: str, error: BaseException | None = None, /, **fields: object) -> None:
        """Write a failure with its traceback: that of `error`, else of the exception being handled."""
        self.write("error", text, {**fields, "exc_info": error or True})

    def write(self, level: str, text: str, fields: dict[str, object]) -> None:
        """Write a line of a level: debug, info, warn or error."""
        structlog.get_logger(self._prefix).log(_STDLIB_LEVELS[level], text, **fields)


class TaskLog:
    """Notes what happens to tasks, cheaply; the balancer's engine and the worker's call it.

    Args:
        ring: where lines go.

    Attributes:
        detailed: acceptance and start of each task are noted too; else nobody need tell of them.
    """

    __slots__ = ("_ring", "detailed")

    def __init__(self, ring: LogRing) -> None:
        self._ring = ring
        self.detailed = not ring.kept.keys().isdisjoint(("task.accepted", "task.started"))

    def accepted(self, task_id: str, lane: LaneKey, mode: str, correlation: str = "") -> None:
        """Note that a task was taken."""
        if "task.accepted" in self._ring.kept:
            self._line("task.accepted", task_id, lane, correlation, mode=mode)

    def rejected(self, code: str, correlation: str = "") -> None:
        """Note that a task was not taken."""
        self._ring.task_line("task.rejected", code=code, correlation_id=correlation)

    def started(
        self, task_id: str, lane: LaneKey, worker: str | None, attempt: int, correlation: str = ""
    ) -> None:
        """Note that an attempt began."""
        if "task.started" in self._ring.kept:
            self._line(
                "task.started", task_id, lane, correlation, worker=worker or "?", attempt=attempt
            )

    def changed(
        self, task_id: str, lane: LaneKey, event: str, code: str = "", correlation: str = ""
    ) -> None:
        """Note what happened to a task that goes on.

        Args:
            task_id: the task.
            lane: where it waits.
            event: a `TaskEvent` value that ends no task.
            code: why.
            correlation: its correlation id.
        """
        self._line(_ACTION_OF_EVENT[TaskEvent(event)], task_id, lane, correlation, code=code)

    def ended(
        self, task_id: str, lane: LaneKey, status: str, code: str, seconds: float, correlation: str,
        now_s: float,
    ) -> None:  # fmt: skip
        """Note how a task ended.

        Args:
            task_id: the task.
            lane: where it was.
            status: a terminal `TaskStatus` value.
            code: why, when it did not succeed.
            seconds: from acceptance to the end.
            correlation: its correlation id.
            now_s: now, on the monotonic clock.
        """
        group, contract, function = lane
        self._ring.note_task(
            _ACTION_OF_END[status], task_id, _END_FIELDS,
            (function, group, contract, correlation, code, seconds), now_s,
        )  # fmt: skip

    def _line(
        self, action: str, task_id: str, lane: LaneKey, correlation: str, **fields: object
    ) -> None:
        if action not in self._ring.kept:  # before the fields are put together
            return
        group, contract, function = lane
        self._ring.task_line(
            action, task_id, function=function, group=group, contract=contract,
            correlation_id=correlation, **fields,
        )  # fmt: skip


_END_FIELDS = ("function", "group", "contract", "correlation_id", "code", "seconds")
_ACTION_OF_END: dict[str, str] = {status: f"task.{status}" for status in TERMINAL}
_ACTION_OF_EVENT = {
    TaskEvent.DUE: "task.due",
    TaskEvent.DISPATCHED: "task.started",
    TaskEvent.REFUSED: "task.refused",
    TaskEvent.LOST: "task.requeued",
    TaskEvent.RETRIED: "task.retried",
    TaskEvent.ADOPTED: "task.adopted",
    TaskEvent.RELEASED: "task.released",
}


def setup_logging(
    clock: Clock,
    *,
    level: str = "info",
    max_lines: int = 1000,
    stream: TextIO | None = None,
    as_json: bool | None = None,
) -> LogRing:
    """Send every log of this process one way, and return the ring of its last lines.

    Calling it again replaces what was set up before.

    Args:
        clock: tells when a line was made.
        level: LOG_LEVEL: debug, info, warn or error.
        max_lines: MAX_LOGS.
        stream: where lines are written; stderr by default.
        as_json: JSON lines when true, a console's when false; None: JSON unless it is a terminal.
    """
    out = stream or sys.stderr
    as_json = not out.isatty() if as_json is None else as_json
    ring = LogRing(clock, max_lines=max_lines, level=level)
    render = _json_renderer() if as_json else _console_renderer(out.isatty())
    structlog.configure(
        processors=[
            _add_context(clock),
            structlog.processors.format_exc_info,
            _redact,
            _keep_in(ring),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_STDLIB_LEVELS[level]),
        logger_factory=_lines_to(out),
        cache_logger_on_first_use=False,
    )
    ring.writer = BatchWriter(
        out, render, lambda count: Log("log").event("log.skipped", count=count)
    )
    _route_stdlib(_STDLIB_LEVELS[level])
    return ring


def _add_context(clock: Clock) -> Processor:
    def add(logger: object, method: str, event: EventDict) -> EventDict:
        event["timestamp"] = iso(clock.utc_now())
        event["level"] = _NAMES.get(method, method)
        event["prefix"] = getattr(logger, "prefix", "log")
        correlation = correlation_id.get()
        if correlation:
            event.setdefault("correlation_id", correlation)
        return event

    return add


def _redact(logger: object, method: str, event: EventDict) -> EventDict:
    log_input = bool(event.pop("log_input", False))
    return redacted(event, log_input=log_input)


def _keep_in(ring: LogRing) -> Processor:
    """Return the processor that keeps each line in the ring, its fields after its text."""

    def keep(logger: object, method: str, event: EventDict) -> EventDict:
        known = ("timestamp", "level", "prefix", "event", "task_id", "action", "exception")
        fields = "".join(
            f" {name}={value}" for name, value in event.items() if name not in known and value != ""
        )
        cause = str(event.get("exception", "")).rstrip().rpartition("\n")[2]
        text = f"{event.get('event', '')}{': ' + cause if cause else ''}{fields}"
        ring.add(
            event["level"], event["prefix"], text,
            task_id=str(event.get("task_id", "")), action=str(event.get("action", "")),
        )  # fmt: skip
        return event

    return keep


def _json_renderer() -> Processor:
    def encode(event: dict[str, object], **_: object) -> str:
        try:
            return msgspec.json.encode(event).decode()
        except UnicodeEncodeError:  # a lone surrogate, as in a file name that is no UTF-8: escaped
            return json.dumps(event, default=str, separators=(",", ":"))

    return structlog.processors.JSONRenderer(serializer=encode)


def _console_renderer(colors: bool) -> Processor:
    # The plain formatter, because the rich one shows local variables, and they may be secrets.
    console = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )

    def render(logger: object, method: str, event: EventDict) -> str:
        # What a peer said may stand in a line: it must not look like another, or move the cursor.
        for name, value in event.items():
            if isinstance(value, str):
                lines = value.split("\n") if name == "exception" else (value,)
                event[name] = "\n".join(map(one_line, lines))
        return str(console(logger, method, event))

    return render


class _Lines:
    """What structlog writes to: lines of one stream; `get_logger("worker")` names the prefix."""

    def __init__(self, prefix: str, out: TextIO) -> None:
        self.prefix = prefix
        self._out = out

    def msg(self, line: str) -> None:
        """Write a line."""
        write_to(self._out, f"{line}\n")

    debug = info = warning = error = critical = exception = msg


def _lines_to(out: TextIO) -> Callable[..., _Lines]:
    def make(prefix: str = "log") -> _Lines:
        return _Lines(prefix, out)

    return make


class _StdlibBridge(logging.Handler):
    """Hands the records of the standard library's loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; the first part of the logger's name is the prefix."""
        log = Log(record.name.partition(".")[0])
        level = "debug" if record.levelno < 20 else "info" if record.levelno < 30 else "warn"
        level = "error" if record.levelno >= 40 else level
        fields: dict[str, object] = {"exc_info": record.exc_info} if record.exc_info else {}
        log.write(level, redacted_text(record.getMessage()), fields)


def _route_stdlib(level: int) -> None:
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _StdlibBridge)]:
        root.removeHandler(handler)
    root.addHandler(_StdlibBridge())
    # Only libraries log by it. At debug they write headers and frames: keys and inputs in clear.
    root.setLevel(max(level, logging.INFO))
    logging.getLogger("websockets").setLevel(
        logging.WARNING
    )  # what opens and closes is our own event
