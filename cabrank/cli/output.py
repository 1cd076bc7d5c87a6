"""Writes results for people and for programs: the table of the fleet, values, streams."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from shared.client import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import RenderableType

    from shared.client import Progress, WorkerInfo
    from shared.client.records import Json

T = TypeVar("T")

WIDE = 1000  # columns

_STYLE_OF_STATUS = {"ready": "green", "maintenance": "yellow", "unreachable": "red"}


def print_value(console: Console, value: Json) -> None:
    """Print a result for a person: text as it is, everything else as JSON, nothing for None."""
    if isinstance(value, str):
        console.out(value, highlight=False)
    elif value is not None:
        console.print_json(json.dumps(value, ensure_ascii=False))


def print_line(value: Json) -> None:
    """Print a value for a program: JSON on one line."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def event_of(event: Chunk | Progress) -> dict[str, Json]:
    """Return an event of a stream as the contract's NDJSON has it."""
    if isinstance(event, Chunk):
        value = event.value
        data = {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        return {"id": event.seq, "event": "chunk", "data": data}
    members = {
        "fraction": event.fraction,
        "done": event.done,
        "total": event.total,
        "message": event.message,
    }
    known = {name: value for name, value in members.items() if value is not None}
    return {"id": event.seq, "event": "progress", "data": known}


def print_piece(value: Json) -> None:
    """Print a piece at once, as plain text carries it: text and bytes verbatim, JSON with a newline."""
    if isinstance(value, bytes):
        data = value
    elif isinstance(value, str):
        data = value.encode("utf-8", "replace")
    else:
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def print_infos(
    infos: Sequence[T], table: Callable[[Sequence[T]], RenderableType], *, as_json: bool
) -> None:
    """Print a list: a table for people, an array for programs."""
    if as_json:
        print_line([msgspec.to_builtins(info) for info in infos])
    else:
        _wide_console().print(table(infos))


def print_info(info: T, story: Callable[[T], RenderableType], *, as_json: bool) -> None:
    """Print one record: its story for people, an object for programs."""
    if as_json:
        print_line(msgspec.to_builtins(info))
    else:
        _wide_console().print(story(info))


def print_done(text: str, members: Json, *, as_json: bool) -> None:
    """Print what was done: a sentence for people, an object for programs."""
    if as_json:
        print_line(members)
    else:
        print(text)


def _wide_console() -> Console:
    """Return a console; where there is no terminal, whose width is known, lines may be as long as they need."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def workers_json(workers: Iterable[WorkerInfo]) -> list[Json]:
    """Return workers as plain JSON values."""
    return [msgspec.to_builtins(worker) for worker in workers]


def workers_table(workers: Sequence[WorkerInfo]) -> Table:
    """Return the table of a fleet; the column of problems is there when somebody has one."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("WORKER", "STATUS", "GROUP", "CONTRACT"):
        table.add_column(name, no_wrap=True)
    for name in ("BUSY", "SLOTS", "QUEUE"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("LINK", no_wrap=True)
    for name in ("FUNCTIONS", "TAGS"):
        table.add_column(name, min_width=10)
    problems = [plain(worker.problem or worker.differences or "") for worker in workers]
    if any(problems):
        table.add_column("PROBLEM", min_width=10)
    for worker, problem in zip(workers, problems, strict=True):
        table.add_row(*_cells(worker), *([problem] if any(problems) else []))
    return table


def _cells(worker: WorkerInfo) -> list[str]:
    slots = worker.slots
    style = _STYLE_OF_STATUS.get(worker.status, "bold")
    names = sorted(str(each.get("name", "?")) for each in worker.functions)
    tags = [f"{name}={value}" for name, value in sorted(worker.tags.items())]
    return [
        plain(worker.id),
        f"[{style}]{plain(worker.status)}[/]",
        plain(worker.group or "–"),
        "–" if worker.contract is None else str(worker.contract),
        *(["–"] * 3 if slots is None else map(str, (slots.used, slots.limit, slots.queue))),
        plain(worker.link),
        plain(", ".join(names)),
        plain(", ".join(tags)),
    ]


def plain(text: str) -> str:
    """Return a text that somebody else told, so that nothing in it is taken for markup or moves the cursor."""
    visible = "".join(char if char.isprintable() else "�" for char in text)
    return visible.replace("[", r"\[")
