"""The catalogue of events: what both processes log, under stable names, with their fields and level.

A log line, a metric or a dashboard names an event by its action; the text is for people. Nothing is
logged under an action that is not here, and the documentation's table is `markdown()`.
"""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class EventRow(NamedTuple):
    """One event of the catalogue.

    Attributes:
        level: debug, info, warn or error.
        text: what happened; `{field}` is filled in.
        fields: fields that every record of it has, beside time, level, action and correlation id.
    """

    level: str
    text: str
    fields: tuple[str, ...] = ()


_TASK = ("task_id", "function")

EVENTS: dict[str, EventRow] = {
    # tasks
    "task.accepted": EventRow("debug", "Task of '{function}' accepted, mode {mode}", (*_TASK, "mode")),
    "task.rejected": EventRow("info", "Task refused: {code}", ("code",)),
    "task.started": EventRow(
        "debug", "Attempt {attempt} of '{function}' started on {worker}", (*_TASK, "worker", "attempt")
    ),
    "task.refused": EventRow("debug", "Worker refused '{function}': {code}", (*_TASK, "code")),
    "task.due": EventRow("debug", "Task of '{function}' is due", _TASK),
    "task.adopted": EventRow("info", "Running task of '{function}' taken over", _TASK),
    "task.requeued": EventRow(
        "warn", "Worker of '{function}' was lost, task goes back to its queue", (*_TASK, "code")
    ),
    "task.retried": EventRow(
        "warn", "Attempt of '{function}' failed with {code}, another follows", (*_TASK, "code")
    ),
    "task.released": EventRow("info", "Task of '{function}' released from quarantine", _TASK),
    "task.replayed": EventRow(
        "info", "Dead letter of '{function}' replayed as a new task", (*_TASK, "replay_of")
    ),
    "task.succeeded": EventRow("info", "'{function}' succeeded in {seconds:.3f} s", (*_TASK, "seconds")),
    "task.failed": EventRow(
        "warn", "'{function}' failed after {seconds:.3f} s: {code}", (*_TASK, "code", "seconds")
    ),
    "task.cancelled": EventRow(
        "info", "'{function}' cancelled after {seconds:.3f} s", (*_TASK, "code", "seconds")
    ),
    "task.timed_out": EventRow(
        "warn", "'{function}' ran out of time after {seconds:.3f} s: {code}", (*_TASK, "code", "seconds")
    ),
    "task.expired": EventRow(
        "warn", "'{function}' found no slot before its deadline", (*_TASK, "code", "seconds")
    ),
    "task.quarantined": EventRow(
        "error", "'{function}' was running each time a worker died; quarantined",
        (*_TASK, "code", "seconds"),
    ),
    "task.superseded": EventRow("info", "Result of a superseded attempt dropped", ("task_id",)),
    # workers
    "worker.up": EventRow("info", "Worker {worker} is up", ("worker",)),
    "worker.down": EventRow("warn", "Worker {worker} is down: {reason}", ("worker", "reason")),
    "worker.maintenance": EventRow("info", "Worker {worker} is in maintenance", ("worker",)),
    "worker.invalid": EventRow("warn", "Worker {worker} is invalid: {reason}", ("worker", "reason")),
    "worker.stuck": EventRow(
        "error", "{count} slots are held by code that cannot be ended", ("count",)
    ),
    "function.loaded": EventRow("info", "Function '{function}' loaded", ("function",)),
    "function.broken": EventRow("error", "File {file} cannot be loaded: {reason}", ("file", "reason")),
    "service.up": EventRow("info", "Service '{service}' is up", ("service",)),
    "service.down": EventRow("error", "Service '{service}' is down: {reason}", ("service", "reason")),
    # the list of workers
    "roster.reloaded": EventRow("info", "{workers} workers are listed", ("workers",)),
    "roster.broken": EventRow(
        "error", "The list of workers is broken, the last good one stays: {problem}", ("problem",)
    ),
    # links
    "link.connected": EventRow("info", "Link to {peer} is open", ("peer",)),
    "link.lost": EventRow("warn", "Link to {peer} is lost: {reason}", ("peer", "reason")),
    "link.silent": EventRow("warn", "{peer} is silent", ("peer",)),
    "link.refused": EventRow("warn", "Link to {peer} refused: {reason}", ("peer", "reason")),
    # webhooks
    "webhook.delivered": EventRow(
        "info", "Webhook delivered, try {attempt}", ("task_id", "webhook_id", "attempt")
    ),
    "webhook.postponed": EventRow(
        "warn", "Webhook try {attempt} failed, another follows: {reason}",
        ("task_id", "webhook_id", "attempt", "reason"),
    ),
    "webhook.dead_lettered": EventRow(
        "error", "Webhook given up after {attempt} tries: {reason}",
        ("task_id", "webhook_id", "attempt", "reason"),
    ),
    "webhook.replayed": EventRow(
        "info", "Webhook that was given up is tried again", ("task_id", "webhook_id")
    ),
    # dead letters
    "dead.purged": EventRow("info", "{count} dead letters purged", ("count",)),
    # the store
    "store.unavailable": EventRow("error", "Store is unavailable: {reason}", ("reason",)),
    "store.restored": EventRow("info", "Store is available again", ()),
    "store.recovered": EventRow("info", "{count} unfinished tasks taken over", ("count",)),
    # processes
    "process.started": EventRow("info", "{software} listens on {url}", ("software", "url")),
    "process.stopping": EventRow("info", "Stopping: {reason}", ("reason",)),
    "process.stopped": EventRow("info", "Stopped", ()),
    "http.failed": EventRow("error", "{method} {path} failed: {error_type}", ("method", "path", "error_type")),
    "http.malformed": EventRow("debug", "Malformed request: {reason}", ("reason",)),
    "log.skipped": EventRow("warn", "{count} task lines were not written here", ("count",)),
}  # fmt: skip


def describe(action: str, fields: Mapping[str, object]) -> str:
    """Return the text of an event; what is missing or does not fit shows as `?`: no line is lost."""
    text = EVENTS[action].text
    try:
        return text.format_map(fields)
    except (KeyError, ValueError, TypeError):
        return "".join(_filled(*part, fields) for part in Formatter().parse(text))


def _filled(
    literal: str, name: str | None, form: str | None, _: str | None, fields: Mapping[str, object]
) -> str:
    if name is None:
        return literal
    try:
        return literal + format(fields.get(name, "?"), form or "")
    except (ValueError, TypeError):
        return f"{literal}?"


def markdown() -> str:
    """Return the catalogue as a table for the documentation."""
    lines = ["| action | level | fields | text |", "| --- | --- | --- | --- |"]
    for action, row in EVENTS.items():
        fields = ", ".join(f"`{name}`" for name in row.fields)
        lines.append(f"| `{action}` | {row.level} | {fields} | {row.text} |")
    return "\n".join(lines)
