"""`cabrank tasks`: what became of tasks, and orders about single ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cabrank.cli.options import AsJson, Function, Group, Key, KeyFile, Url
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from shared.client import SyncClient, TaskInfo

PAGE = 1000  # the largest that a balancer gives

TaskId = Annotated[str, typer.Argument(help="Id of the task.", metavar="ID")]

app = typer.Typer(help="Look at tasks, cancel and release them.", no_args_is_help=True)


def connected(url: str | None, key: str | None, key_file: Path | None) -> SyncClient:
    """Return a client of the balancer that options, environment or defaults name.

    Raises:
        ConfigError: a value is not what is expected, or the key file cannot be read.
    """
    from cabrank.cli.config import load_call_settings
    from shared.client import Client

    settings = load_call_settings(url, key, key_file)
    return Client.sync(settings.cabrank_url, key=settings.lb_auth_key)


@app.command("list")
def list_tasks(
    status: Annotated[TaskStatus | None, typer.Option(help="Only in this state.")] = None,
    function: Function = None,
    group: Group = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1)] = 50,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    from cabrank.cli.output import print_infos
    from cabrank.cli.tables import tasks_table

    found: list[TaskInfo] = []
    cursor: str | None = None
    with connected(url, key, key_file) as client:
        while len(found) < limit:
            page = client.tasks(
                status=None if status is None else status.value,
                function=function,
                group=group,
                limit=min(limit - len(found), PAGE),
                cursor=cursor,
            )
            found += page.tasks
            cursor = page.next
            if cursor is None:
                break
    print_infos(found, tasks_table, as_json=as_json)


@app.command()
def show(
    task_id: TaskId,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one task with its attempts and its result."""
    from cabrank.cli.output import print_info
    from cabrank.cli.tables import task_story

    with connected(url, key, key_file) as client:
        task = client.status(task_id)
    print_info(task, task_story, as_json=as_json)


@app.command()
def cancel(
    task_id: TaskId,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a task that has not ended."""
    from cabrank.cli.output import print_done

    with connected(url, key, key_file) as client:
        client.cancel(task_id)
    done = {"task_id": task_id, "status": "cancelled"}
    print_done(f"Task {task_id} is cancelled", done, as_json=as_json)


@app.command()
def release(
    task_id: TaskId,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send a quarantined task back to its queue."""
    from cabrank.cli.output import print_done

    with connected(url, key, key_file) as client:
        client.release(task_id)
    done = {"task_id": task_id, "status": "queued"}
    print_done(f"Task {task_id} is released", done, as_json=as_json)
