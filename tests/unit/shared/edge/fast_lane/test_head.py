"""Heads: what is read from one, which are none for the lane, and what is remembered."""

from __future__ import annotations

import pytest

from shared.edge.fast_lane.head import KEPT_HEADS, Heads
from shared.edge.headers import EdgeHeaders
from shared.errors import Failure, failure

LIMIT = 1000


class Gate:
    """Authorizes who has a key, and counts."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def authorize(self, headers: EdgeHeaders) -> Failure | None:
        """Check the key."""
        self.asked.append(headers.authorization)
        return None if headers.authorization == "k" else failure("unauthorized")


def _raw(*lines: str) -> bytes:
    given = ["POST /task HTTP/1.1", "Host: x", "Content-Length: 7", *lines, "", ""]
    return "\r\n".join(given).encode("latin-1")


@pytest.fixture
def gate() -> Gate:
    """Who authorizes."""
    return Gate()


@pytest.fixture
def heads(gate: Gate) -> Heads:
    """What is tested."""
    return Heads(gate.authorize, LIMIT)


def test_everything_that_means_something_is_read(heads: Heads) -> None:
    """By name, whatever its case; white space around values is none of them."""
    head = heads.read(
        _raw(
            "AUTHORIZATION: k", "x-lb-auth:  l \t", "X-WR-Auth: w", "content-type: t/j", "Accept: */*",
            "X-Correlation-ID: c", "last-event-id: 4", "Prefer: p", "Idempotency-Key: i", "X-Else: e",
        )
    )  # fmt: skip
    assert head is not None
    told = head.headers
    assert (told.authorization, told.lb_auth, told.wr_auth) == ("k", "l", "w")
    assert (told.content_type, told.accept, told.last_event_id) == ("t/j", "*/*", "4")
    assert (told.prefer, told.idempotency_key) == ("p", "i")
    assert (head.correlation_id, told.correlation_id) == ("c", None)
    assert (head.refused, head.close) == (None, False)


def test_bytes_that_are_no_text_are_kept_as_aiohttp_keeps_them(heads: Heads) -> None:
    """As surrogates, so that a key of such bytes compares the same in both shells."""
    head = heads.read(_raw("Authorization: \xfc"))
    assert head is not None
    assert head.headers.authorization == b"\xfc".decode("utf-8", "surrogateescape")


def test_sizes_are_those_of_the_bytes(heads: Heads) -> None:
    """The body begins behind the blank line and ends by Content-Length."""
    raw = _raw("Authorization: k")
    head = heads.read(raw)
    assert head is not None
    assert (head.size, head.end) == (len(raw), len(raw) + 7)


@pytest.mark.parametrize(
    ("value", "close"),
    [("close", True), ("Close", True), ("keep-alive", False), ("Keep-Alive", False)],
)
def test_connection_is_understood(heads: Heads, value: str, close: bool) -> None:
    """In whatever case."""
    head = heads.read(_raw(f"Connection: {value}"))
    assert head is not None
    assert head.close is close


@pytest.mark.parametrize(
    "length", ["0", "", "1001", "99999999999999999999", "-1", "+1", "1_0", "٣", "7 7"]
)
def test_a_length_that_is_none_for_the_lane(heads: Heads, length: str) -> None:
    """No body, one over the limit, and what is no number."""
    text = f"POST /task HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    assert heads.read(text.encode()) is None


@pytest.mark.parametrize("length", ["1", "1000", "0007"])
def test_a_length_within_the_limit(heads: Heads, length: str) -> None:
    """The limit itself is allowed."""
    head = heads.read(
        f"POST /task HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
    )
    assert head is not None
    assert head.end - head.size == int(length)


def test_a_known_head_is_not_judged_again(heads: Heads, gate: Gate) -> None:
    """Until it is forgotten."""
    raw = _raw("Authorization: k")
    assert heads.read(raw) is heads.read(raw)
    assert gate.asked == ["k"]
    heads.forget()
    heads.read(raw)
    assert gate.asked == ["k", "k"]


def test_a_head_with_an_idempotency_key_is_not_remembered(heads: Heads) -> None:
    """No other request has it: it would only push those out that come again."""
    assert heads.read(_raw("Authorization: k", "Idempotency-Key: a")) is not None
    assert len(heads) == 0
    heads.read(_raw("Authorization: k"))
    assert len(heads) == 1


def test_a_strangers_head_is_not_remembered(heads: Heads, gate: Gate) -> None:
    """It is judged each time."""
    raw = _raw("Authorization: wrong")
    for _ in range(3):
        head = heads.read(raw)
        assert head is not None
        assert head.refused is not None
    assert gate.asked == ["wrong"] * 3


@pytest.mark.parametrize("name", ["x-correlation-id", "X-Correlation-Id"])
def test_a_correlation_id_is_read_anew_each_time(heads: Heads, gate: Gate, name: str) -> None:
    """The rest of the head is known all the same, and the sizes fit."""
    for number in (7, 88, 999, 1000):
        raw = _raw(f"{name}: id-{number}", "Authorization: k")
        head = heads.read(raw)
        assert head is not None
        assert head.correlation_id == f"id-{number}"
        assert (head.size, head.end) == (len(raw), len(raw) + 7)
    plain = heads.read(_raw("Authorization: k"))
    assert plain is not None
    assert plain.correlation_id == ""
    assert gate.asked == ["k"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [("a b", "ab"), ("a\x80b", "ab"), ("x" * 200, "x" * 128), ("", ""), ("a\t", "a"), ("ü", "")],
)
def test_an_odd_correlation_id_is_sanitised(heads: Heads, value: str, kept: str) -> None:
    """With and without the rest of the head being known."""
    heads.read(_raw("Authorization: k"))
    for _ in range(2):
        head = heads.read(_raw("Authorization: k", f"x-correlation-id: {value}"))
        assert head is not None
        assert head.correlation_id == kept


def test_two_correlation_ids_are_odd_even_when_the_rest_is_known(heads: Heads) -> None:
    """Cutting one out of a head does not make the other one pass."""
    heads.read(_raw("x-correlation-id: a", "Authorization: k"))
    heads.read(_raw("Authorization: k"))
    assert (
        heads.read(_raw("x-correlation-id: a", "x-correlation-id: b", "Authorization: k")) is None
    )


def test_a_correlation_id_does_not_hide_what_is_wrong(heads: Heads) -> None:
    """A line that only looks like the header, inside another's value, changes nothing."""
    heads.read(_raw("Authorization: k"))
    assert heads.read(_raw("A: b\n x-correlation-id: a", "Authorization: k")) is None


def test_memory_is_bounded(heads: Heads, gate: Gate) -> None:
    """However many heads are sent, and however long they are."""
    for number in range(KEPT_HEADS * 3):
        assert heads.read(_raw("Authorization: k", f"X-Else: {number}")) is not None
    assert len(heads) <= KEPT_HEADS
    heads.forget()
    heads.read(_raw("Authorization: k", "X-Else: " + "x" * 2000))
    assert len(heads) == 0
