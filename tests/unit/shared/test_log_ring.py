"""The ring of the last lines: forms, filters, followers, laziness."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Failure
from shared.log_ring import (
    MAX_FOLLOWERS,
    MAX_UNREAD,
    Entry,
    LogQuery,
    LogRing,
    Subscription,
    one_line,
)

START = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


class Steps:
    """A clock that goes on by a second each time it is read."""

    def __init__(self) -> None:
        self.read = -1

    def monotonic(self) -> float:
        """Return the seconds so far."""
        return float(self.read)

    def utc_now(self) -> datetime:
        """Return the start plus the seconds so far."""
        self.read += 1
        return START + timedelta(seconds=self.read)


def _parsed(**given: str) -> LogQuery:
    query = LogQuery.parse(given)
    assert isinstance(query, LogQuery), query
    return query


def _followed(ring: LogRing, query: LogQuery | None = None) -> Subscription:
    follower = ring.subscribe(query or LogQuery(), lambda: None)
    assert isinstance(follower, Subscription)
    return follower


def test_a_line_has_andera_s_form() -> None:
    """`[ISO] [LEVEL] [PREFIX] text`, with milliseconds and Z."""
    ring = LogRing(Steps())
    ring.add("info", "function", "Function 'fail' loaded")
    assert ring.lines() == ["[2026-01-02T03:04:05.678Z] [INFO] [FUNCTION] Function 'fail' loaded"]


def test_what_happened_to_a_task_becomes_a_line_when_it_is_read() -> None:
    """Until then its fields are kept as they are; task and correlation id are named."""

    class Counted:
        shown = 0

        def __str__(self) -> str:
            self.shown += 1
            return "hello"

    function = Counted()
    ring = LogRing(Steps())
    ring.task_line(
        "task.failed", "t-1", function=function, code="timeout", seconds=1.5, correlation_id="c-1"
    )
    assert function.shown == 0
    line = "[WARN] [TASK] 'hello' failed after 1.500 s: timeout task_id=t-1 correlation_id=c-1"
    assert ring.lines() == [f"[2026-01-02T03:04:05.678Z] {line}"]
    ring.lines()
    assert function.shown == 1


def test_the_ring_keeps_the_last_lines() -> None:
    """MAX_LOGS of them, oldest first."""
    ring = LogRing(Steps(), max_lines=3)
    for number in range(5):
        ring.add("info", "x", f"line {number}")
    assert [line[-6:] for line in ring.lines()] == ["line 2", "line 3", "line 4"]


@pytest.mark.parametrize(("level", "kept"), [("debug", 3), ("info", 2), ("warn", 1), ("error", 0)])
def test_task_lines_below_the_level_are_not_kept(level: str, kept: int) -> None:
    """Nor is their text ever made."""
    ring = LogRing(Steps(), level=level)
    for action in ("task.started", "task.succeeded", "task.failed"):
        ring.task_line(action, "t-1")
    assert len(ring.lines()) == kept
    assert ("task.started" in ring.kept) is (level == "debug")


def test_secrets_and_line_breaks_do_not_reach_a_line() -> None:
    """Nobody forges a line, nobody reads a key."""
    ring = LogRing(Steps())
    ring.add("info", "x", "Bearer abc\n[2026] [INFO] forged\x1b[31m")
    ring.task_line("task.failed", "t-1", function="f\r\nx", code="Bearer abc", seconds=1)
    first, second = ring.lines()
    assert first.endswith("[X] [redacted]\\n[2026] [INFO] forged\\x1b[31m")
    assert "'f\\r\\nx' failed after 1.000 s: [redacted]" in second


def test_each_filter() -> None:
    """Level and above, not older than, of one task; the last so many of what remains."""
    ring = LogRing(Steps())
    ring.add("info", "x", "a")  # second 0
    ring.add("warn", "x", "b", task_id="t-1")
    ring.add("error", "x", "c", task_id="t-2")
    ring.add("info", "x", "d", task_id="t-1")

    def found(query: LogQuery) -> str:
        return "".join(line.partition("[X] ")[2][0] for line in ring.lines(query))

    assert found(LogQuery()) == "abcd"
    assert found(LogQuery(level="warn")) == "bc"
    assert found(LogQuery(since=START + timedelta(seconds=2))) == "cd"
    assert found(LogQuery(task_id="t-1")) == "bd"
    assert found(LogQuery(task_id="t-1", limit=1)) == "d"
    assert found(LogQuery(limit=99)) == "abcd"


def test_a_query_is_read_from_a_url() -> None:
    """Names that are not known are ignored; `warning` is `warn`; a date without a zone is UTC."""
    assert _parsed() == LogQuery()
    assert _parsed(limit="5", level="WARNING", task_id="t-1", follow="sse", other="x") == LogQuery(
        limit=5, level="warn", task_id="t-1", follow=True
    )
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    for since in (
        "2026-01-02T12:00:00Z",
        "2026-01-02T12:00:00",
        "2026-01-02T14:00:00 02:00",
        "2026-01-02 12:00",
    ):
        assert _parsed(since=since).since == noon


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("limit", "0", "must be an integer of at least 1"),
        ("limit", "-1", "must be an integer of at least 1"),
        ("limit", "x", "must be an integer of at least 1"),
        ("limit", "²", "must be an integer of at least 1"),
        ("limit", "", "must be an integer of at least 1"),
        ("limit", "9" * 5000, "must be an integer of at least 1"),
        ("level", "loud", "must be one of debug, info, warn, error"),
        ("since", "noon", "must be an ISO 8601 date and time"),
        ("since", "", "must be an ISO 8601 date and time"),
        ("follow", "websocket", "must be sse"),
    ],
)
def test_a_query_that_makes_no_sense_is_told(name: str, value: str, expected: str) -> None:
    """Which name, and what is expected."""
    found = LogQuery.parse({name: value})
    assert isinstance(found, Failure)
    assert (found.code, found.message) == ("invalid_field", f"Invalid {name}: {expected}")


def test_a_follower_gets_what_it_asked_for_from_now_on() -> None:
    """And is notified of it, of nothing else."""
    ring = LogRing(Steps())
    ring.add("error", "x", "before")
    told: list[str] = []
    follower = ring.subscribe(LogQuery(level="warn"), lambda: told.append("news"))
    assert isinstance(follower, Subscription)
    ring.add("info", "x", "quiet")
    ring.add("warn", "x", "loud")
    ring.task_line("task.failed", "t-1", function="f", code="timeout", seconds=1)
    assert len(told) == 2
    assert [line.partition("] [WARN] ")[2][:9] for line in follower.take()] == [
        "[X] loud",
        "[TASK] 'f",
    ]
    assert follower.take() == []
    follower.close()
    follower.close()
    ring.add("error", "x", "after")
    assert (follower.take(), ring.followers, len(told)) == ([], 0, 2)


def test_a_follower_that_is_too_slow_loses_the_oldest_and_is_told() -> None:
    """Its queue is bounded."""
    ring = LogRing(Steps())
    follower = _followed(ring)
    for number in range(MAX_UNREAD + 5):
        ring.add("info", "x", f"line {number}")
    lines = follower.take()
    assert lines[0] == "… 5 lines were dropped, the reader was too slow"
    assert lines[1].endswith("line 5")
    assert len(lines) == MAX_UNREAD + 1
    ring.add("info", "x", "next")
    assert len(follower.take()) == 1


def test_followers_are_bounded() -> None:
    """Each costs every line a call; one that leaves makes place."""
    ring = LogRing(Steps())
    followers = [_followed(ring) for _ in range(MAX_FOLLOWERS)]
    refused = ring.subscribe(LogQuery(), lambda: None)
    assert isinstance(refused, Failure)
    assert refused.status == 429
    followers[0].close()
    assert ring.followers == MAX_FOLLOWERS - 1
    _followed(ring)


def test_the_writer_is_offered_tasks_lines_only() -> None:
    """Plain lines were written before they came here."""

    class Kept:
        def __init__(self) -> None:
            self.entries: list[Entry] = []
            self.room = 1
            self.skipped = 0

        def offer(self, entry: Entry) -> None:
            self.entries.append(entry)

    ring = LogRing(Steps())
    ring.writer = writer = Kept()
    ring.add("info", "x", "written already")
    ring.task_line("task.succeeded", "t-1", function="f", seconds=1)
    ring.task_line("task.started", "t-1")
    assert [entry.action for entry in writer.entries] == ["task.succeeded"]
    ring.note_task("task.failed", "t-2", ("function",), ("f",), 0.0)
    ring.note_task("task.started", "t-2", ("function",), ("f",), 0.0)
    assert [entry.action for entry in writer.entries] == ["task.succeeded", "task.failed"]
    writer.room = 0
    ring.note_task("task.failed", "t-3", ("function",), ("f",), 0.0)
    assert (len(writer.entries), writer.skipped, len(ring.lines())) == (2, 1, 4)


def test_a_noted_line_is_the_line_of_its_fields() -> None:
    """It is told by its values only; filters and followers find it like any other."""
    ring, other = LogRing(Steps()), LogRing(Steps())
    fields: dict[str, object] = {
        "function": "f",
        "code": "Bearer abc",
        "seconds": 1,
        "correlation_id": "c-1",
    }
    names, values = tuple(fields), tuple(fields.values())
    ring.note_task("task.failed", "t-1", names, values, 7.0)
    other.keep_task("task.failed", "t-1", fields)
    assert ring.lines() == other.lines()
    assert "failed after 1.000 s: [redacted] task_id=t-1 correlation_id=c-1" in ring.lines()[0]
    assert ring.lines(LogQuery(task_id="t-2")) == ring.lines(LogQuery(level="error")) == []
    follower = _followed(ring)
    ring.note_task("task.failed", "t-2", names, values, 7.0)
    assert follower.take() == ring.lines(LogQuery(task_id="t-2"))


def test_a_noted_line_has_the_time_at_which_it_was_noted() -> None:
    """The wall clock is read once a second; in between the monotonic one tells."""
    clock = Steps()
    ring = LogRing(clock)
    for now_s in (100.0, 100.5, 101.0, 101.5, 101.75):
        ring.note_task("task.succeeded", "t-1", ("function", "seconds"), ("f", 1), now_s)
    seconds = [line[18:24] for line in ring.lines()]
    assert seconds == ["05.678", "06.178", "06.678", "06.678", "06.928"]
    assert clock.read == 1


@given(st.text())
def test_a_text_becomes_one_printable_line(text: str) -> None:
    """Whatever a function puts into it; printable texts stay as they are."""
    line = one_line(text)
    assert line.isprintable()
    assert (line == text) is text.isprintable()
