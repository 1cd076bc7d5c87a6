"""Worker and balancer, whole and over real sockets, stand whatever bytes come to their ports.

`FUZZ_INPUTS=…` looks longer, `FUZZ_SEED=…` elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random

from shared.errors import CODES
from tests.fakes.in_process_balancer import running_balancer
from tests.fakes.in_process_worker import AUTH_KEY, LB_KEY, running_worker
from tests.fakes.raw_http import exchange_raw, split_answers
from tests.fakes.task_functions import echo, fail, hello, nothing, stream, stream_fail
from tests.fakes.waiting import wait_until
from tests.fuzz.raw_requests import BODY_LIMIT, Sender

INPUTS = int(os.environ.get("FUZZ_INPUTS", "1000")) // 4
SEED = os.environ.get("FUZZ_SEED", "cabrank")
AT_ONCE = 25
HOSTED = (hello, echo, fail, nothing, stream, stream_fail)
NAMED_5XX = {code for code, row in CODES.items() if row.status >= 500} - {"internal_error"}
WELL = b'{"function":"hello","contract":1}'


async def _fuzzed(port: int, key: str) -> None:
    """Send many inputs and look through what is said; then the process must still serve."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        sent = Sender(Random(f"{SEED}-{number}"), key, hooks=False).segments()
        async with free:
            said = await exchange_raw(port, sent)
        try:
            _look_through(said)
        except AssertionError as exc:
            exc.add_note(f"FUZZ_SEED={SEED}, input {number}: {sent!r}")
            raise

    async with asyncio.TaskGroup() as senders:
        for number in range(INPUTS):
            senders.create_task(one(number))
    head = (
        f"POST /task HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: {len(WELL)}\r\n"
    )
    said = await exchange_raw(port, [head.encode() + b"Connection: close\r\n\r\n" + WELL])
    assert [answer.status for answer in split_answers(said)] == [200]


def _look_through(raw: bytes) -> None:
    for secret in (AUTH_KEY, LB_KEY, "Traceback", "aiohttp"):
        assert secret.encode() not in raw
    for answer in split_answers(raw):
        if answer.status >= 500:
            assert answer.content["code"] in NAMED_5XX, answer


async def test_a_worker_stands_every_input() -> None:
    """No 5xx that the contract does not name, no key or traceback in an answer, and no hang."""
    async with running_worker(*HOSTED, request_body_limit=BODY_LIMIT, slots=4) as worker:
        await _fuzzed(int(worker.url.rpartition(":")[2]), AUTH_KEY)
        await wait_until(lambda: not worker.engine.slots().used, "every slot is free")


async def test_a_balancer_stands_every_input(tmp_path: Path) -> None:
    """The same; and no task is left behind."""
    async with (
        running_worker(*HOSTED, slots=4) as worker,
        running_balancer(tmp_path, worker.url, request_body_limit=BODY_LIMIT) as balancer,
    ):
        await _fuzzed(int(balancer.url.rpartition(":")[2]), LB_KEY)
        await wait_until(lambda: balancer.balancer.engine.idle, "no task is left")
        await wait_until(lambda: not worker.engine.slots().used, "every slot is free")
