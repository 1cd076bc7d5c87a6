"""The fast lane and aiohttp give the same answers to the same bytes, whatever these are.

FUZZ_EXAMPLES=100000 looks longer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from hypothesis import HealthCheck, event, example, given, settings

from shared.errors import CODES
from tests.fakes.raw_http import split_answers
from tests.fuzz.both_shells import AUTH_KEY, BODY_LIMIT, LB_KEY, Shells, both_shells, comparable
from tests.fuzz.raw_requests import segments

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1500"))
NAMED_5XX = {code for code, row in CODES.items() if row.status >= 500} - {"internal_error"}
MALFORMED = {400, 431}


async def _check(shells: Shells, sent: Sequence[bytes]) -> None:
    lane = await shells.told_by_lane(sent)
    whole = b"".join(sent)
    # Byte by byte, because aiohttp drops what it understood when something that it does not
    # understand arrives in the same segment.
    other = await shells.told_by_other([whole[at : at + 1] for at in range(len(whole))])
    by_lane, by_other = comparable(lane.written[0]), comparable(other.written[0])
    if len(lane.written) == 1:
        event("stayed in the lane")
        assert by_lane == by_other
        assert lane.closed == other.closed
    else:
        event(f"handed over after {len(by_lane)} answers")
        assert by_lane == by_other[: len(by_lane)]
        # The successor was given everything that was not answered, in one piece and unchanged.
        assert lane.received[1] in whole
        all_told = by_lane + comparable(lane.written[1])
        if all_told != by_other:
            assert any(told[0] in MALFORMED for told in all_told), (all_told, by_other)
    _look_through(b"".join(lane.written))
    _look_through(other.written[0])
    await shells.forget(lane, other)
    assert not shells.lane.connections


def _look_through(raw: bytes) -> None:
    """Check that nothing is told that should not be, and no 5xx that the contract does not name."""
    for secret in (AUTH_KEY, LB_KEY, "Traceback", "aiohttp"):
        assert secret.encode() not in raw
    for answer in split_answers(raw):
        if answer.status >= 500:
            assert answer.content["code"] in NAMED_5XX, answer


def _post(body: bytes, *lines: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = ["POST /task HTTP/1.1", "Host: x", f"Authorization: {AUTH_KEY}", f"Content-Length: {size}"]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


HELLO = b'{"function":"hello","contract":1}'


def test_shells_agree() -> None:
    """On answers, on their order, and on when a connection ends."""
    with asyncio.Runner() as runner:

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
        @given(segments())
        @example([_post(HELLO) + _post(HELLO, "Connection: close") + _post(HELLO)])
        @example([_post(HELLO), b"garbage\r\n\r\n"])
        @example([_post(HELLO, length=10)])
        @example([_post(HELLO, "Connection: upgrade", "Upgrade: x")])
        @example([_post(HELLO.ljust(BODY_LIMIT)), _post(HELLO.ljust(BODY_LIMIT + 1))])
        @example([_post(HELLO, "x-correlation-id: \x7f"), _post(HELLO, "x-correlation-id: a")])
        def agree(sent: list[bytes]) -> None:
            runner.run(_check(shells, sent))

        context = both_shells()
        shells = runner.run(context.__aenter__())
        try:
            agree()
        finally:
            runner.run(context.__aexit__(None, None, None))
