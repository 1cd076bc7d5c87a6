"""Silence and latency, second by second."""

from __future__ import annotations

from shared.protocol.heartbeat import Heartbeat


def test_a_ping_is_due_at_once_and_then_every_interval() -> None:
    """Pings are numbered and evenly spaced."""
    heart = Heartbeat(3.0, 3.0)
    due = [heart.ping_due(100.0 + step) for step in range(8)]
    assert due == [1, None, None, 2, None, None, 3, None]


def test_the_way_of_a_ping_is_measured() -> None:
    """Latency is the time from a ping to the pong of its number."""
    heart = Heartbeat(3.0, 3.0)
    assert heart.latency_s is None
    assert heart.ping_due(100.0) == 1
    heart.ponged(1, 100.25)
    assert heart.latency_s == 0.25


def test_a_slow_pong_is_measured_though_newer_pings_are_out() -> None:
    """A way that is longer than the interval is still measured, from the first ping."""
    heart = Heartbeat(1.0, 9.0)
    assert [heart.ping_due(100.0), heart.ping_due(101.0), heart.ping_due(102.0)] == [1, 2, 3]
    heart.ponged(1, 102.5)
    assert heart.latency_s == 2.5


def test_pongs_that_were_not_asked_for_measure_nothing() -> None:
    """A peer cannot make up a latency, and a pong that was skipped frees the next measurement."""
    heart = Heartbeat(1.0, 9.0)
    heart.ponged(1, 99.0)
    assert heart.ping_due(100.0) == 1
    heart.ponged(0, 100.1)
    heart.ponged(2, 100.1)
    assert heart.latency_s is None
    assert heart.ping_due(101.0) == 2
    heart.ponged(2, 101.5)  # the pong of 1 was left out
    assert heart.latency_s is None
    assert heart.ping_due(102.0) == 3
    heart.ponged(3, 102.25)
    assert heart.latency_s == 0.25


def test_silence_begins_after_the_time_out_and_is_told_once() -> None:
    """Exactly at the time-out the peer is not silent yet."""
    heart = Heartbeat(3.0, 3.0)
    heart.ping_due(100.0)
    told = [heart.falls_silent(now_s) for now_s in (101.5, 103.0, 103.1, 104.0)]
    assert told == [False, False, True, False]
    assert heart.silent


def test_nobody_is_silent_who_was_not_asked() -> None:
    """Without a ping out, no time is too long."""
    heart = Heartbeat(3.0, 3.0)
    assert not heart.falls_silent(100.0)
    assert not heart.falls_silent(100.1)


def test_anything_that_comes_is_life() -> None:
    """What comes after a ping takes its place as an answer, and the next ping starts a new wait."""
    heart = Heartbeat(3.0, 3.0)
    heart.ping_due(100.0)
    assert heart.heard() is False
    assert not heart.falls_silent(102.9)
    heart.ping_due(103.0)
    assert not heart.falls_silent(104.5)
    assert not heart.falls_silent(106.0)
    assert heart.falls_silent(106.1)


def test_the_end_of_a_silence_is_told_once() -> None:
    """Who was silent and is heard is heard again."""
    heart = Heartbeat(3.0, 1.0)
    heart.ping_due(100.0)
    assert [heart.falls_silent(now_s) for now_s in (100.5, 101.1)] == [False, True]
    assert [heart.heard(), heart.heard()] == [True, False]
    assert not heart.silent


def test_a_late_tick_blames_nobody() -> None:
    """Who was suspended gives the peer its whole time again before it calls it silent."""
    heart = Heartbeat(3.0, 3.0)
    heart.ping_due(100.0)
    assert not heart.falls_silent(100.5)
    assert not heart.falls_silent(160.0)
    assert not heart.falls_silent(162.9)
    assert heart.falls_silent(163.1)
