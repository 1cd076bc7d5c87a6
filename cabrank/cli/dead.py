"""`cabrank dead`: what failed for good, to be looked at, replayed or purged."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cabrank.cli.options import (
    AsJson,
    Before,
    Code,
    Function,
    Group,
    Key,
    KeyFile,
    Kind,
    Since,
    Url,
    Yes,
    moment,
)
from cabrank.cli.tasks import PAGE, connected

if TYPE_CHECKING:
    from datetime import datetime

    from shared.client import DeadLetterInfo, ReplayedInfo, SyncClient

AT_ONCE = 1000  # the most that a balancer replays in one request
# Moments are shown in milliseconds, and kept finer.
SHOWN = timedelta(milliseconds=1)

LetterId = Annotated[str, typer.Argument(help="Id of the task or of the webhook.", metavar="ID")]
OneId = Annotated[
    str | None, typer.Argument(help="Id of the task or of the webhook.", metavar="[ID]")
]
All = Annotated[bool, typer.Option("--all", help="All that match the other options.")]

app = typer.Typer(
    help="Look at what failed for good: tasks, webhooks, quarantined tasks; replay or purge it.",
    no_args_is_help=True,
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters the options name."""

    kind: str | None
    function: str | None
    group: str | None
    code: str | None
    since: datetime | None
    before: datetime | None

    @classmethod
    def read(
        cls, kind: Kind, function: str | None, group: str | None, code: str | None,
        since: str | None, before: str | None,
    ) -> Chosen:  # fmt: skip
        """Return what the options say.

        Raises:
            typer.BadParameter: a time is none.
        """
        of_kind = None if kind is None else kind.value
        return cls(
            of_kind, function, group, code, moment("--since", since), moment("--before", before)
        )

    @property
    def narrow(self) -> bool:
        """Tell whether they narrow at all."""
        return self != Chosen(None, None, None, None, None, None)

    def letters(self, client: SyncClient, limit: int) -> tuple[list[DeadLetterInfo], bool]:
        """Return letters, newest first, and whether there are more of them."""
        found: list[DeadLetterInfo] = []
        cursor: str | None = None
        while len(found) < limit:
            page = client.dead_letters(
                kind=self.kind, function=self.function, group=self.group, code=self.code,
                since=self.since, before=self.before, limit=min(limit - len(found), PAGE), cursor=cursor,
            )  # fmt: skip
            found += page.dead
            cursor = page.next
            if cursor is None:
                break
        return found, cursor is not None


@app.command("list")
def list_letters(
    kind: Kind = None,
    function: Function = None,
    group: Group = None,
    code: Code = None,
    since: Since = None,
    before: Before = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1)] = 50,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first."""
    from cabrank.cli.output import print_infos
    from cabrank.cli.tables import letters_table

    chosen = Chosen.read(kind, function, group, code, since, before)
    with connected(url, key, key_file) as client:
        found, _ = chosen.letters(client, limit)
    print_infos(found, letters_table, as_json=as_json)


@app.command()
def show(
    letter_id: LetterId,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter with the whole story of its task."""
    from cabrank.cli.output import print_info
    from cabrank.cli.tables import letter_story

    with connected(url, key, key_file) as client:
        letter = client.dead_letter(letter_id)
    print_info(letter, letter_story, as_json=as_json)


@app.command()
def replay(
    letter_id: OneId = None,
    everything: All = False,
    kind: Kind = None,
    function: Function = None,
    group: Group = None,
    code: Code = None,
    since: Since = None,
    before: Before = None,
    limit: Annotated[
        int | None, typer.Option(help="With --all: at most so many, the newest.", min=1)
    ] = None,
    yes: Yes = False,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Run failed tasks again as new ones, send webhooks again, release quarantined tasks."""
    from cabrank.cli.output import print_done

    chosen = Chosen.read(kind, function, group, code, since, before)
    _one_or_all(letter_id, everything, chosen.narrow or limit is not None)
    with connected(url, key, key_file) as client:
        if letter_id is not None:
            done = client.replay(letter_id)
            print_done(_told(done), _members(done), as_json=as_json)
            return
        newest, more = chosen.letters(client, 1 if yes else min(limit or PAGE, PAGE))
        more = more and len(newest) != limit
        if newest and not yes:
            _confirm("Replay", len(newest), more)
        count = _replay_all(client, chosen, newest, limit)
    print_done(f"{count} dead letters were replayed", {"replayed": count}, as_json=as_json)


@app.command()
def purge(
    letter_id: OneId = None,
    everything: All = False,
    kind: Kind = None,
    function: Function = None,
    group: Group = None,
    code: Code = None,
    since: Since = None,
    before: Before = None,
    yes: Yes = False,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget dead letters with their inputs; a quarantined task has then failed for good."""
    from cabrank.cli.output import print_done

    chosen = Chosen.read(kind, function, group, code, since, before)
    _one_or_all(letter_id, everything, chosen.narrow)
    with connected(url, key, key_file) as client:
        if letter_id is not None:
            client.purge(letter_id)
            print_done(f"Dead letter {letter_id} is gone", {"purged": 1}, as_json=as_json)
            return
        if not yes:
            found, more = chosen.letters(client, PAGE)
            if found:
                _confirm("Purge", len(found), more)
        count = client.purge_all(
            kind=chosen.kind, function=chosen.function, group=chosen.group, code=chosen.code,
            since=chosen.since, before=chosen.before,
        )  # fmt: skip
    print_done(f"{count} dead letters were purged", {"purged": count}, as_json=as_json)


def _replay_all(
    client: SyncClient, chosen: Chosen, newest: list[DeadLetterInfo], limit: int | None
) -> int:
    """Replay what is there now, and not what fails meanwhile: that would go round for ever."""
    if not newest:
        return 0
    died_at = newest[0].died_at
    if chosen.before is None and died_at is not None:
        chosen = replace(chosen, before=died_at + SHOWN)
    count = 0
    while limit is None or count < limit:
        done = client.replay_all(
            kind=chosen.kind, function=chosen.function, group=chosen.group, code=chosen.code,
            since=chosen.since, before=chosen.before,
            limit=AT_ONCE if limit is None else min(AT_ONCE, limit - count),
        )  # fmt: skip
        count += done.replayed
        if not done.more or not done.replayed:
            break
    return count


def _one_or_all(letter_id: str | None, everything: bool, narrow: bool) -> None:
    if (letter_id is None) != everything:
        raise typer.BadParameter("give either an ID or --all")
    if letter_id is not None and narrow:
        raise typer.BadParameter("an ID goes with no option that chooses letters")


def _confirm(verb: str, count: int, more: bool) -> None:
    """Ask a person; where there is none, nothing is done."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is nobody to ask: give --yes")
    how_many = f"more than {count}" if more else str(count)
    typer.confirm(f"{verb} {how_many} dead letters?", abort=True, err=True)


def _told(done: ReplayedInfo) -> str:
    if done.kind == "webhook":
        return f"The webhook of task {done.task_id} is sent again"
    if done.kind == "quarantine":
        return f"Task {done.task_id} is released"
    return f"Runs again as task {done.task_id}"


def _members(done: ReplayedInfo) -> dict[str, object]:
    members = {
        "kind": done.kind, "task_id": done.task_id, "replay_of": done.replay_of,
        "webhook_id": done.webhook_id,
    }  # fmt: skip
    return {name: value for name, value in members.items() if value is not None}
