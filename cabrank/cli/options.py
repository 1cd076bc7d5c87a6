"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.dead_letter import DeadKind
from shared.log_ring import moment_of

if TYPE_CHECKING:
    from datetime import datetime

Url = Annotated[
    str | None, typer.Option(help="The balancer: CABRANK_URL, else http://127.0.0.1:4000.")
]
Key = Annotated[
    str | None,
    typer.Option(
        help="Its key: LB_AUTH_KEY, else the one generated into .cabrank/.", show_default=False
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help="File with the key; unlike --key nobody sees it in a list of processes.",
        metavar="FILE",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Function = Annotated[str | None, typer.Option(help="Only of this function.")]
Group = Annotated[str | None, typer.Option(help="Only of this group.")]
Kind = Annotated[DeadKind | None, typer.Option(help="Only of this kind.")]
Code = Annotated[str | None, typer.Option(help="Only with this code.")]
Since = Annotated[
    str | None, typer.Option(help="Only given up at this ISO 8601 time or later.", metavar="TIME")
]
Before = Annotated[
    str | None, typer.Option(help="Only given up before this ISO 8601 time.", metavar="TIME")
]


def moment(name: str, text: str | None) -> datetime | None:
    """Return the moment of an option; without an offset it is UTC.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    found = moment_of(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no ISO 8601 date and time", param_hint=name)
    return found
