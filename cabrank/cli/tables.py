"""Tables of tasks and dead letters, for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

from cabrank.cli.output import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from shared.client import DeadLetterInfo, TaskInfo

_STYLE_OF_STATUS = {
    "succeeded": "green", "running": "cyan", "queued": "blue", "scheduled": "blue",
    "cancelled": "yellow",
}  # fmt: skip


def tasks_table(tasks: Sequence[TaskInfo]) -> Table:
    """Return the table of a list of tasks."""
    table = _table("TASK", "STATUS", "GROUP", "FUNCTION", "CREATED", "FINISHED", "WORKER", "CODE")
    for task in tasks:
        table.add_row(
            plain(task.task_id), _status(task.status), plain(task.group), plain(task.function),
            _moment(task.created_at), _moment(task.finished_at), plain(task.worker or "–"),
            plain(task.code or ""),
        )  # fmt: skip
    return table


def letters_table(letters: Sequence[DeadLetterInfo]) -> Table:
    """Return the table of a list of dead letters."""
    table = _table("LETTER", "KIND", "GROUP", "FUNCTION", "DIED", "CODE")
    table.add_column("ERROR", min_width=10)
    for letter in letters:
        table.add_row(
            plain(letter.id), plain(letter.kind), plain(letter.group), plain(letter.function),
            _moment(letter.died_at), plain(letter.code), plain(letter.error or ""),
        )  # fmt: skip
    return table


def task_story(task: TaskInfo) -> RenderableType:
    """Return everything that is known of a task."""
    facts: list[tuple[str, str]] = [
        ("task", plain(task.task_id)),
        ("status", _status(task.status)),
        ("function", plain(f"{task.group}/{task.function} (contract {task.contract})")),
        ("mode", plain(task.mode)),
        ("priority", f"{task.priority:g}"),
        ("created", _moment(task.created_at)),
        ("started", _moment(task.started_at)),
        ("finished", _moment(task.finished_at)),
        ("worker", plain(task.worker or "–")),
    ]
    if task.replay_of is not None:
        facts.append(("replay of", plain(task.replay_of)))
    if task.metadata is not None:
        facts.append(("metadata", _json(task.metadata)))
    if task.webhook is not None:
        told = f"{task.webhook.status}, {task.webhook.attempts} tries"
        facts.append(("webhook", plain(told)))
    if task.code is not None:
        facts.append(("error", plain(f"{task.error} ({task.code})")))
    if task.result is not None:
        facts.append(("result", _json(task.result)))
    return Group(_facts(facts), *_attempts(task))


def letter_story(letter: DeadLetterInfo) -> RenderableType:
    """Return everything that is known of a dead letter."""
    facts = [
        ("letter", plain(letter.id)),
        ("kind", plain(letter.kind)),
        ("died", _moment(letter.died_at)),
        ("why", plain(f"{letter.error or ''} ({letter.code})")),
    ]
    if letter.webhook is not None:
        facts.append(("sent to", plain(f"{letter.webhook.host}, {letter.webhook.attempts} tries")))
    rest = [] if letter.task is None else ["", task_story(letter.task)]
    return Group(_facts(facts), *rest)


def _attempts(task: TaskInfo) -> list[RenderableType]:
    if not task.attempts:
        return []
    table = _table("ATTEMPT", "WORKER", "STARTED", "FINISHED", "OUTCOME", "CODE")
    for each in task.attempts:
        table.add_row(
            str(each.n), plain(each.worker or "–"), _moment(each.started_at),
            _moment(each.finished_at), plain(each.outcome or "–"), plain(each.code or ""),
        )  # fmt: skip
    return ["", table]


def _facts(facts: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in facts:
        table.add_row(name, value)
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=True)
    return table


def _status(status: str) -> str:
    return f"[{_STYLE_OF_STATUS.get(status, 'red')}]{plain(status)}[/]"


def _moment(at: datetime | None) -> str:
    return "–" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


def _json(value: object) -> str:
    return plain(json.dumps(value, ensure_ascii=False))
