"""The stream: one big package, walked through file by file, each piece shown as it comes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cabrank.cli.demo.checks import Check
from shared.client import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from cabrank.cli.demo.batch import Answer
    from shared.client import Client
    from shared.client.records import Json

FUNCTION = "code_walk"
SHOWN_FIRST = 6  # pieces that are all printed, then a selection
SHOWN_LATER = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What a stream brought.

    Attributes:
        package: what was walked through.
        pieces: how many pieces came.
        progress: how many reports of progress came.
        first_s: from the call to the first piece.
        wall_s: from the call to the end.
        ended: the stream came to its proper end.
        result: what the function returned.
    """

    package: str
    pieces: int
    progress: int
    first_s: float
    wall_s: float
    ended: bool
    result: dict[str, Json]


async def run_walk(client: Client, package: Answer, show: Callable[[float, Json], None]) -> Walk:
    """Stream the walk through a package.

    Args:
        client: calls the fleet.
        package: its name and how many files to expect.
        show: prints a piece and the seconds since the call.
    """
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    files = package.count("files")
    step = max(1, (files - SHOWN_FIRST) // SHOWN_LATER)
    pieces = progress = 0
    first_s = 0.0
    async with client.stream(FUNCTION, package=package.package) as stream:
        async for event in stream:
            if not isinstance(event, Chunk):
                progress += 1
                continue
            pieces += 1
            passed_s = loop.time() - started_s
            first_s = first_s or passed_s
            if pieces <= SHOWN_FIRST or pieces % step == 0 or pieces == files:
                show(passed_s, event.value)
        return Walk(
            package=package.package,
            pieces=pieces,
            progress=progress,
            first_s=first_s,
            wall_s=loop.time() - started_s,
            ended=stream.ended,
            result=stream.result or {},
        )


def check_walk(walk: Walk, package: Answer) -> list[Check]:
    """Return what the stream promises and whether it held."""
    files, lines = package.count("files"), package.count("lines")
    return [
        Check(
            "the stream ended properly, a piece for every file",
            walk.ended and walk.pieces == files,
            f"{walk.pieces} pieces, {files} files, {walk.progress} reports of progress",
        ),
        Check(
            "the first piece came before the work was done",
            0 < walk.first_s < walk.wall_s,
            f"first after {walk.first_s:.3f} s, end after {walk.wall_s:.3f} s",
        ),
        Check(
            "the stream counts the same lines as the batch",
            walk.result.get("lines") == lines,
            f"{walk.result.get('lines')} and {lines}",
        ),
    ]
