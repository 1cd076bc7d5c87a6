"""The demo's stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cabrank.cli.demo.batch import Answer
from cabrank.cli.demo.walk import SHOWN_FIRST, SHOWN_LATER, Walk, check_walk, run_walk
from shared.client import Client
from shared.task import Piece, PieceKind
from tests.fakes.contract_server import KEY, ContractServer, Input

FILES = 200
PACKAGE = Answer("big", 1, 0.1, {"files": FILES, "lines": 1000})
WALK = Walk(
    package="big", pieces=FILES, progress=3, first_s=0.1, wall_s=0.9, ended=True,
    result={"lines": 1000},
)  # fmt: skip


async def _walk(given: Input) -> AsyncIterator[Piece]:
    for n in range(FILES):
        yield Piece(2 * n + 1, PieceKind.PROGRESS, b"{}")
        yield Piece(2 * n + 2, PieceKind.JSON, json.dumps({"file": f"{n}.py"}).encode())


async def test_pieces_are_counted_and_some_are_shown() -> None:
    """The first ones and a selection of the others, the last among them, in order."""
    shown: list[tuple[float, object]] = []
    async with ContractServer() as server:
        server.streams["code_walk"] = _walk
        async with Client(server.url, key=KEY) as client:
            walk = await run_walk(client, PACKAGE, lambda at_s, value: shown.append((at_s, value)))
    assert (walk.pieces, walk.progress, walk.ended) == (FILES, FILES, True)
    assert walk.result == {"all": True}
    assert 0 < walk.first_s <= walk.wall_s
    values = [value for _, value in shown]
    assert values[:SHOWN_FIRST] == [{"file": f"{n}.py"} for n in range(SHOWN_FIRST)]
    assert values[-1] == {"file": f"{FILES - 1}.py"}
    assert len(values) <= SHOWN_FIRST + SHOWN_LATER + 2
    assert [at_s for at_s, _ in shown] == sorted(at_s for at_s, _ in shown)


def test_a_good_walk_holds() -> None:
    """All promises are kept."""
    assert [check.held for check in check_walk(WALK, PACKAGE)] == [True, True, True]


@pytest.mark.parametrize(
    ("walk", "held"),
    [
        (replace(WALK, ended=False), [False, True, True]),
        (replace(WALK, pieces=FILES - 1), [False, True, True]),
        (replace(WALK, first_s=0.9), [True, False, True]),
        (replace(WALK, first_s=0.0), [True, False, True]),
        (replace(WALK, result={}), [True, True, False]),
    ],
)
def test_what_is_wrong_is_found(walk: Walk, held: list[bool]) -> None:
    """A short stream, a collected one and a wrong result are each found."""
    assert [check.held for check in check_walk(walk, PACKAGE)] == held
