"""Fault 7: a gzip client gets the whole stream at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.andera_worker import AUTH_KEY, andera_worker
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import LB_KEY, running_worker
from tests.fakes.task_functions import HeldWork

GZIP = {"Accept-Encoding": "gzip, deflate, br"}


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream", "application/x-ndjson"])
async def test_each_piece_comes_at_once_and_is_not_compressed(tmp_path: Path, accept: str) -> None:
    """The first piece is there while the function still runs, whatever the client could unpack."""
    work = HeldWork()
    async with (
        running_worker(*work.functions()) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
        balancer.stream(
            "hold_stream", {"label": "piece"}, headers={**GZIP, "Accept": accept}
        ) as reply,
    ):
        assert "Content-Encoding" not in reply.headers
        assert b"piece" in await reply.content.readany()
        assert work.running == 1
        work.let_go()
        await reply.read()


async def test_a_plain_worker_is_not_asked_to_compress(tmp_path: Path) -> None:
    """An Andera worker keeps pieces back from who takes gzip; our balancer does not."""
    async with andera_worker(LB_KEY) as worker:
        entry = {"url": worker.url, "auth_key": AUTH_KEY}
        async with (
            running_balancer(tmp_path, entry) as balancer,
            balancer.stream("streamy", headers=GZIP) as reply,
        ):
            assert await reply.text() == "Hello World!\n"
        assert "gzip" not in worker.headers[0].get("accept-encoding", "")
