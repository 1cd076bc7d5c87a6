"""Answers as bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.edge.answers import Answer
from shared.edge.fast_lane.responses import Responses

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def _lines(raw: bytes) -> list[str]:
    assert raw.endswith(b"\r\n\r\n")
    return raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, "HTTP/1.1 200 OK"), (202, "HTTP/1.1 202 Accepted"), (401, "HTTP/1.1 401 Unauthorized"),
        (429, "HTTP/1.1 429 Too Many Requests"), (504, "HTTP/1.1 504 Gateway Timeout"),
    ],
)  # fmt: skip
def test_an_answer_has_its_lines(status: int, line: str) -> None:
    """Status line, type, date, server, length and correlation id."""
    responses = Responses("cabrank/1", NOON)
    assert _lines(responses.head(Answer(status, b"four"), "id-1", last=False)) == [
        line,
        "Content-Type: application/json; charset=utf-8",
        "Date: Tue, 01 Jan 2030 12:00:00 GMT",
        "Server: cabrank/1",
        "Content-Length: 4",
        "x-correlation-id: id-1",
    ]


def test_headers_of_the_answer_follow() -> None:
    """And `Connection: close` on the last one of a connection."""
    responses = Responses("cabrank/1", NOON)
    answer = Answer(429, b"", headers=(("Retry-After", "3"), ("Location", "/tasks/a")))
    assert _lines(responses.head(answer, "i", last=True))[-3:] == [
        "Retry-After: 3",
        "Location: /tasks/a",
        "Connection: close",
    ]


def test_types_are_told_apart() -> None:
    """The same status in JSON and in msgpack has two heads."""
    responses = Responses("cabrank/1", NOON)
    json, packed = Answer(200, b""), Answer(200, b"", "application/msgpack")
    for _ in range(2):
        assert "Content-Type: application/msgpack" in _lines(
            responses.head(packed, "i", last=False)
        )
        assert f"Content-Type: {json.content_type}" in _lines(responses.head(json, "i", last=False))


def test_the_date_is_set() -> None:
    """What was worded before is worded anew."""
    responses = Responses("cabrank/1", NOON)
    responses.head(Answer(200, b""), "i", last=False)
    responses.date(NOON + timedelta(seconds=1))
    told = _lines(responses.head(Answer(200, b""), "i", last=False))
    assert "Date: Tue, 01 Jan 2030 12:00:01 GMT" in told
