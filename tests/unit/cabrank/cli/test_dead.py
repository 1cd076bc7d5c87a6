"""`cabrank tasks` and `cabrank dead`, from their arguments to what is printed, against a real balancer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from cabrank.cli import main
from shared.task_state import TaskStatus
from tests.fakes.dead_letters import Grave, bury
from tests.fakes.in_process_balancer import RunningBalancer, running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.task_functions import PLAIN


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        """Return what it printed for a program."""
        return json.loads(self.out)


Run = Callable[..., Awaitable[Ran]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a thread, while this loop serves it."""

    async def running(*args: str) -> Ran:
        capfd.readouterr()  # what the servers have logged
        monkeypatch.setattr(sys, "argv", ["cabrank", *args])
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main)
        printed = capfd.readouterr()
        code = ended.value.code
        lines = [line for line in printed.out.splitlines() if "action=" not in line]
        return Ran(code if isinstance(code, int) else 0, "\n".join(lines), printed.err)

    return running


@pytest.fixture
async def balancer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningBalancer]:
    """Run a balancer that the environment names, with dead letters of each kind."""
    await bury(
        tmp_path / "tasks.db",
        Grave("old", function="echo", content=b'{"text":"x"}', age_s=7200),
        Grave("failed", age_s=3600),
        Grave("set-aside", status=TaskStatus.QUARANTINED),
        Grave("untold", hook="http://127.0.0.1:9/told"),
    )
    async with (
        running_worker(*PLAIN) as worker,
        running_balancer(
            tmp_path, worker.url, store_url=f"sqlite:///{tmp_path}/tasks.db"
        ) as running,
    ):
        monkeypatch.setenv("CABRANK_URL", running.url)
        monkeypatch.setenv("LB_AUTH_KEY", LB_KEY)
        yield running


async def letters(run: Run, *options: str) -> list[str]:
    """Return the ids of what `cabrank dead list` shows."""
    shown = cast("list[dict[str, str]]", (await run("dead", "list", "--json", *options)).json)
    return [each["id"] for each in shown]


async def test_tasks_are_listed(balancer: RunningBalancer, run: Run) -> None:
    """A table for people, an array for programs; each option narrows it."""
    table = await run("tasks", "list")
    lines = table.out.splitlines()
    assert lines[0].split() == [
        "TASK", "STATUS", "GROUP", "FUNCTION", "CREATED", "FINISHED", "WORKER", "CODE",
    ]  # fmt: skip
    assert (len(lines), table.code, table.err) == (5, 0, "")
    rows: list[tuple[list[str], set[str]]] = [
        ([], {"untold", "set-aside", "failed", "old"}),
        (["--status", "quarantined"], {"set-aside"}),
        (["--function", "echo"], {"old"}),
        (["--group", "nobody"], set()),
    ]
    for options, expected in rows:
        shown = (await run("tasks", "list", "--json", *options)).json
        assert {each["task_id"] for each in cast("list[dict[str, str]]", shown)} == expected
    assert (
        len(cast("list[object]", (await run("tasks", "list", "--json", "--limit", "2")).json)) == 2
    )


async def test_a_task_is_shown(balancer: RunningBalancer, run: Run) -> None:
    """Everything that is known of it, its attempts included."""
    told = (await run("tasks", "show", "failed")).out
    for part in (
        "failed",
        "default/hello (contract 1)",
        "broken (function_error)",
        "ATTEMPT",
        "w1:3000",
    ):
        assert part in told
    shown = cast("dict[str, object]", (await run("tasks", "show", "failed", "--json")).json)
    assert (shown["task_id"], shown["code"]) == ("failed", "function_error")


async def test_a_task_is_cancelled(balancer: RunningBalancer, run: Run) -> None:
    """And said so; one that has ended cannot be."""
    durable = {"Prefer": "respond-async"}
    sent = await balancer.task("hello", headers=durable, delay_s=3600)
    task_id = str(sent.json["task_id"])
    assert await run("tasks", "cancel", task_id) == Ran(0, f"Task {task_id} is cancelled", "")
    assert (await balancer.shown(task_id))["status"] == "cancelled"
    ended = await run("tasks", "cancel", "failed")
    assert (ended.code, ended.out) == (1, "")
    assert "Task has already ended: failed (task_finished)" in ended.err


async def test_a_quarantined_task_is_released_once(balancer: RunningBalancer, run: Run) -> None:
    """The second time it is not quarantined."""
    assert await run("tasks", "release", "set-aside", "--json") == Ran(
        0, '{"task_id":"set-aside","status":"queued"}', ""
    )
    assert (await balancer.ended("set-aside"))["status"] == "succeeded"
    again = await run("tasks", "release", "set-aside")
    assert (again.code, "(not_quarantined)" in again.err) == (1, True)


async def test_dead_letters_are_listed(balancer: RunningBalancer, run: Run) -> None:
    """A table for people, an array for programs; each option narrows it."""
    lines = (await run("dead", "list")).out.splitlines()
    assert lines[0].split() == ["LETTER", "KIND", "GROUP", "FUNCTION", "DIED", "CODE", "ERROR"]
    assert "HTTP 500" in lines[1]
    assert len(lines) == 5
    rows: list[tuple[list[str], list[str]]] = [
        ([], ["msg_untold", "set-aside", "failed", "old"]),
        (["--kind", "task"], ["failed", "old"]),
        (["--function", "echo"], ["old"]),
        (["--code", "webhook_failed"], ["msg_untold"]),
        (["--group", "nobody"], []),
        (["--before", "2000-01-01T00:00:00Z"], []),
        (["--since", "2000-01-01", "--limit", "1"], ["msg_untold"]),
    ]
    for options, expected in rows:
        assert await letters(run, *options) == expected


async def test_a_dead_letter_is_shown(balancer: RunningBalancer, run: Run) -> None:
    """With the story of its task."""
    told = (await run("dead", "show", "msg_untold")).out
    for part in (
        "msg_untold",
        "webhook",
        "127.0.0.1:9, 4 tries",
        "HTTP 500 (webhook_failed)",
        "untold",
    ):
        assert part in told
    shown = cast("dict[str, object]", (await run("dead", "show", "failed", "--json")).json)
    assert (shown["id"], cast("dict[str, object]", shown["task"])["error"]) == ("failed", "broken")


async def test_one_letter_is_replayed(balancer: RunningBalancer, run: Run) -> None:
    """And what became of it is told; there is no second time."""
    told = cast("dict[str, str]", (await run("dead", "replay", "failed", "--json")).json)
    assert (told["kind"], told["replay_of"]) == ("task", "failed")
    assert (await balancer.ended(told["task_id"]))["status"] == "succeeded"
    again = await run("dead", "replay", "failed")
    assert (again.code, "(dead_letter_not_found)" in again.err) == (1, True)
    assert "is sent again" in (await run("dead", "replay", "msg_untold")).out
    assert "is released" in (await run("dead", "replay", "set-aside")).out


async def test_many_are_replayed_when_somebody_said_yes(
    balancer: RunningBalancer, run: Run
) -> None:
    """By the other options; where nobody can be asked, --yes must be given."""
    unasked = await run("dead", "replay", "--all", "--kind", "task")
    assert (unasked.code, "give --yes" in unasked.err) == (2, True)
    assert len(await letters(run)) == 4
    assert await run("dead", "replay", "--all", "--kind", "task", "--limit", "1", "--yes") == Ran(
        0, "1 dead letters were replayed", ""
    )
    assert await letters(run, "--kind", "task") == ["old"]
    assert (await run("dead", "replay", "--all", "-y", "--json")).json == {"replayed": 3}
    assert (await run("dead", "replay", "--all", "-y", "--json")).json == {"replayed": 0}


@pytest.mark.parametrize(("said", "code", "left"), [("y\n", 0, 2), ("n\n", 1, 4)])
async def test_a_person_is_asked(
    balancer: RunningBalancer,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    code: int,
    left: int,
) -> None:
    """How many there are is told first; no means that nothing happens."""
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    ran = await run("dead", "purge", "--all", "--kind", "task")
    assert (ran.code, len(await letters(run))) == (code, left)
    assert "Purge 2 dead letters?" in ran.err


async def test_letters_are_purged(balancer: RunningBalancer, run: Run) -> None:
    """One by its id, or many."""
    assert (await run("dead", "purge", "old")).out == "Dead letter old is gone"
    assert (await run("dead", "purge", "old")).code == 1
    assert (await run("dead", "purge", "--all", "--yes", "--json")).json == {"purged": 3}
    assert await letters(run) == []
    assert "No dead" not in (await run("dead", "list")).err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["tasks", "show", "nobody"], 1, "(task_not_found)"),
        (["tasks", "cancel", "nobody"], 1, "(task_not_found)"),
        (["tasks", "release", "failed"], 1, "(not_quarantined)"),
        (["tasks", "list", "--status", "lost"], 2, "lost"),
        (["tasks", "list", "--limit", "0"], 2, "--limit"),
        (["tasks", "show"], 2, "ID"),
        (["tasks", "list", "--key", "wrong"], 1, "give --key"),
        (["tasks", "list", "--key-file", "nowhere"], 2, "nowhere cannot be read"),
        (["tasks", "list", "--key", "k", "--key-file", "nowhere"], 2, "not both"),
        (["tasks", "list", "--url", "http://127.0.0.1:9"], 1, "(unreachable)"),
        (["dead", "show", "nobody"], 1, "(dead_letter_not_found)"),
        (["dead", "purge", "nobody"], 1, "(dead_letter_not_found)"),
        (["dead", "list", "--kind", "x"], 2, "--kind"),
        (["dead", "list", "--before", "soon"], 2, "'soon' is no ISO 8601 date and time"),
        (["dead", "replay"], 2, "either an ID or --all"),
        (["dead", "replay", "failed", "--all"], 2, "either an ID or --all"),
        (["dead", "purge", "failed", "--kind", "task"], 2, "chooses letters"),
        (["dead", "purge", "--kind", "task"], 2, "either an ID or --all"),
    ],
)
async def test_what_goes_wrong_is_said(
    balancer: RunningBalancer, run: Run, args: list[str], code: int, said: str
) -> None:
    """A message on standard error and an exit code; never a traceback; nothing is changed."""
    ran = await run(*args)
    told = " ".join(ran.err.replace("│", " ").split())
    assert (ran.code, ran.out) == (code, "")
    assert said in told
    assert "Traceback" not in told
    assert len(await letters(run)) == 4


async def test_the_key_comes_from_a_file(
    balancer: RunningBalancer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wins over the environment; an empty one is an error."""
    monkeypatch.setenv("LB_AUTH_KEY", "wrong")
    file = tmp_path / "key"
    file.write_text(f"{LB_KEY}\n")
    assert (await run("dead", "list", "--key-file", str(file))).code == 0
    file.write_text("\n")
    empty = await run("dead", "list", "--key-file", str(file))
    assert (empty.code, "is empty" in empty.err) == (2, True)


class Terminal:
    """A person at a terminal who says one thing.

    Args:
        said: the line.
    """

    def __init__(self, said: str) -> None:
        self._said = said

    def isatty(self) -> bool:
        """Tell that somebody is there."""
        return True

    def readline(self, *_: object) -> str:
        """Return what was said."""
        return self._said

    def fileno(self) -> int:
        """Return no descriptor: there is none."""
        raise OSError
