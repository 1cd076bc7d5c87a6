"""`cabrank submit`: one task from the command line, in any of the three modes."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cabrank.cli.output import event_of, print_line, print_piece, print_value
from shared.client import Chunk, Client
from shared.errors import CallerError, failure
from shared.task import Mode

if TYPE_CHECKING:
    from rich.console import Console

    from cabrank.cli.config import CallSettings
    from shared.client.records import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is submitted.

    Attributes:
        function: name of the function.
        input: its parameters.
        mode: how the answer is wanted; None means webhook when a URL is given, else sync.
        webhook: where the result is sent.
        group: group of the function.
        contract: version of the group's interface.
        priority: 1 is first.
        timeout_s: limit of one run.
        deadline_s: limit of the whole call.
        as_json: print for a program.
    """

    function: str
    input: dict[str, Json] = field(default_factory=dict[str, "Json"])
    mode: Mode | None = None
    webhook: str | None = None
    group: str | None = None
    contract: int = 1
    priority: float | None = None
    timeout_s: float | None = None
    deadline_s: float | None = None
    as_json: bool = False


def run_submit(task: Submission, settings: CallSettings, console: Console) -> None:
    """Submit a task and print what comes back.

    Raises:
        CabrankError: it failed.
    """
    mode = task.mode or (Mode.SYNC if task.webhook is None else Mode.WEBHOOK)
    if (mode is Mode.WEBHOOK) != (task.webhook is not None):
        text = "--mode webhook and --webhook URL go together"
        raise CallerError(failure=failure("invalid_webhook", text))
    asyncio.run(_submit(task, mode, settings, console))


async def _submit(task: Submission, mode: Mode, settings: CallSettings, console: Console) -> None:
    async with Client(
        settings.cabrank_url, key=settings.lb_auth_key, group=task.group, contract=task.contract
    ) as client:
        if mode is Mode.STREAM:
            await _stream(client, task)
        elif mode is Mode.WEBHOOK:
            await _hand_over(client, task, console)
        else:
            await _call(client, task, console)


async def _call(client: Client, task: Submission, console: Console) -> None:
    result = await client.call(
        task.function,
        input=task.input,
        priority=task.priority,
        timeout_s=task.timeout_s,
        deadline_s=task.deadline_s,
    )
    if task.as_json:
        print_line(result)
    else:
        print_value(console, result)


async def _stream(client: Client, task: Submission) -> None:
    stream = client.stream(
        task.function,
        input=task.input,
        priority=task.priority,
        timeout_s=task.timeout_s,
        deadline_s=task.deadline_s,
    )
    async for event in stream:
        if task.as_json:
            print_line(event_of(event))
        elif isinstance(event, Chunk):
            print_piece(event.value)
        elif event.message and sys.stderr.isatty():
            print(f"· {event.message}", file=sys.stderr)
    if task.as_json:
        print_line({"event": "result", "data": stream.result})


async def _hand_over(client: Client, task: Submission, console: Console) -> None:
    task_id = await client.submit(
        task.function,
        webhook=task.webhook,
        input=task.input,
        priority=task.priority,
        timeout_s=task.timeout_s,
        deadline_s=task.deadline_s,
    )
    if task.as_json:
        print_line({"task_id": task_id})
    else:
        console.out(
            f"Accepted as task {task_id}; its result goes to {task.webhook}", highlight=False
        )
