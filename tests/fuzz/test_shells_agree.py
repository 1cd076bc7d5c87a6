"""The fast lane and aiohttp give the same answers to the same bytes, whatever these are.

`FUZZ_INPUTS=100000` looks longer, `FUZZ_SEED=…` elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import CODES
from tests.fakes.raw_http import split_answers
from tests.fuzz.both_shells import AUTH_KEY, LB_KEY, Shells, both_shells, comparable
from tests.fuzz.raw_requests import BODY_LIMIT, Sender

INPUTS = int(os.environ.get("FUZZ_INPUTS", "1000"))
SEED = os.environ.get("FUZZ_SEED", "cabrank")
NAMED_5XX = {code for code, row in CODES.items() if row.status >= 500} - {"internal_error"}
MALFORMED = {400, 431}


class Seen:
    """What a run has looked at, so that it is known to look at something."""

    def __init__(self) -> None:
        self.stayed = 0
        self.handed_over = 0
        self.statuses: set[int] = set()


async def _check(shells: Shells, sent: Sequence[bytes], seen: Seen) -> None:
    lane = await shells.told_by_lane(sent)
    whole = b"".join(sent)
    # Byte by byte, because aiohttp drops what it understood when something that it does not
    # understand arrives in the same segment.
    other = await shells.told_by_other([whole[at : at + 1] for at in range(len(whole))])
    by_lane, by_other = comparable(lane.written[0]), comparable(other.written[0])
    seen.statuses |= {told[0] for told in by_lane}
    if len(lane.written) == 1:
        seen.stayed += 1
        assert by_lane == by_other
        assert lane.closed == other.closed
    else:
        seen.handed_over += 1
        assert by_lane == by_other[: len(by_lane)]
        # The successor was given what was not answered, unchanged.
        assert lane.received[1] in whole
        all_told = by_lane + comparable(lane.written[1])
        if (
            all_told != by_other
        ):  # aiohttp's own words depend on segments when something is malformed
            told = all_told + by_other
            assert any(status in MALFORMED for status, *_ in told), (all_told, by_other)
    for raw in (*lane.written, other.written[0]):
        _look_through(raw)
    await shells.forget(lane, other)
    assert not shells.lane.connections


def _look_through(raw: bytes) -> None:
    """Check that nothing is told that should not be, and no 5xx that the contract does not name."""
    for secret in (AUTH_KEY, LB_KEY, "Traceback", "aiohttp"):
        assert secret.encode() not in raw
    for answer in split_answers(raw):
        if answer.status >= 500:
            assert answer.content["code"] in NAMED_5XX, answer


def _with_both_shells(test: Callable[[Callable[[Sequence[bytes]], None]], None]) -> Seen:
    """Run a test that checks many inputs."""
    seen = Seen()
    with asyncio.Runner() as runner:
        context = both_shells()
        shells = runner.run(context.__aenter__())
        try:
            test(lambda sent: runner.run(_check(shells, sent, seen)))
        finally:
            runner.run(context.__aexit__(None, None, None))
    return seen


def _post(body: bytes, *lines: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = [
        "POST /task HTTP/1.1",
        "Host: x",
        f"Authorization: {AUTH_KEY}",
        f"Content-Length: {size}",
    ]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


def _sent(chance: Random) -> list[bytes]:
    return Sender(chance, AUTH_KEY, hooks=True).segments()


HELLO = b'{"function":"hello","contract":1}'


def test_shells_agree_on_many_inputs() -> None:
    """On answers, on their order, and on when a connection ends."""

    def look(check: Callable[[Sequence[bytes]], None]) -> None:
        for number in range(INPUTS):
            sent = _sent(Random(f"{SEED}-{number}"))
            try:
                check(sent)
            except AssertionError as exc:
                exc.add_note(f"FUZZ_SEED={SEED}, input {number}: {sent!r}")
                raise

    seen = _with_both_shells(look)
    assert seen.stayed > INPUTS / 10
    assert seen.handed_over > INPUTS / 10
    assert seen.statuses >= {200, 400, 401, 404, 500}


def test_shells_agree_on_inputs_that_shrink() -> None:
    """The same, searched by hypothesis, after the cases that matter most."""

    def look(check: Callable[[Sequence[bytes]], None]) -> None:
        @settings(max_examples=max(100, INPUTS // 10))
        @given(st.randoms(use_true_random=False).map(_sent))
        @example([_post(HELLO) + _post(HELLO, "Connection: close") + _post(HELLO)])
        @example([_post(HELLO), b"garbage\r\n\r\n"])
        @example([_post(HELLO, length=10)])
        @example([_post(HELLO)[:-1]])
        @example([_post(HELLO, "Connection: upgrade", "Upgrade: x")])
        @example([_post(HELLO.ljust(BODY_LIMIT)), _post(HELLO.ljust(BODY_LIMIT + 1))])
        @example([_post(HELLO, "x-correlation-id: \x7f"), _post(HELLO, "x-correlation-id: a")])
        @example([_post(HELLO, "Authorization: wrong")])
        def agree(sent: list[bytes]) -> None:
            check(sent)

        agree()

    assert _with_both_shells(look).stayed
