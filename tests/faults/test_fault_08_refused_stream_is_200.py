"""Fault 8: a refused stream is answered 200."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.in_process_balancer import JsonObject, running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import PLAIN


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("hello", 400, "streaming_not_supported"),
        ("nope", 404, "function_not_found"),
        ("stream_fail", 500, "function_error"),
    ],
)
@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream", "application/x-ndjson"])
async def test_what_ends_before_its_first_piece_has_a_proper_status(
    tmp_path: Path, name: str, status: int, code: str, accept: str
) -> None:
    """A stream that is refused or fails before its first piece is a status and a JSON body."""
    given: JsonObject = {"pieces": []} if name == "stream_fail" else {}
    async with (
        running_worker(*PLAIN) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
        balancer.stream(name, given, headers={"Accept": accept}) as reply,
    ):
        assert reply.status == status
        assert reply.headers["Content-Type"].startswith("application/json")
        assert (await reply.json())["code"] == code
