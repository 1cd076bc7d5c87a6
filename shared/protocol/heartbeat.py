"""The heartbeat of a link: is the peer alive, and how far away is it.

A Ping goes out every interval. What comes back, Pong or anything else, is life; only a Ping that
nothing at all followed for the time-out makes a silence. So a link is noticed as silent after at most
interval + time-out, and never because nobody had asked.
"""

from __future__ import annotations


class Heartbeat:
    """Counts pings, measures their way, and notices silence.

    Args:
        interval_s: seconds between two pings.
        timeout_s: seconds after an unanswered ping at which the peer counts as silent.

    Attributes:
        latency_s: round-trip time of the last ping that was measured; None before the first.
        silent: nothing has come for too long.
    """

    __slots__ = (
        "_asked_s",
        "_count",
        "_interval_s",
        "_pinged_s",
        "_sample",
        "_ticked_s",
        "_timeout_s",
        "latency_s",
        "silent",
    )

    def __init__(self, interval_s: float, timeout_s: float) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._count = 0
        self._pinged_s: float | None = None
        self._asked_s: float | None = None  # of the first ping that nothing has followed yet
        self._ticked_s: float | None = None
        self._sample: tuple[int, float] | None = None  # the ping whose way is being measured
        self.latency_s: float | None = None
        self.silent = False

    def asked(self, now_s: float) -> None:
        """Note that an answer is due from now on."""
        if self._asked_s is None:
            self._asked_s = now_s

    def heard(self) -> bool:
        """Note that something came; True when that ends a silence."""
        self._asked_s = None
        was_silent, self.silent = self.silent, False
        return was_silent

    def falls_silent(self, now_s: float) -> bool:
        """Tell, once a silence, that the peer has become silent; to be called at every tick.

        A tick that comes later than the time-out says that this side was suspended or overloaded:
        what the peer sent may be waiting unread, so its time starts anew.
        """
        late = self._ticked_s is not None and now_s - self._ticked_s > self._timeout_s
        self._ticked_s = now_s
        if self._asked_s is None or self.silent:
            return False
        if late:
            self._asked_s = now_s
        self.silent = now_s - self._asked_s > self._timeout_s
        return self.silent

    def ping_due(self, now_s: float) -> int | None:
        """Return the number of the ping to send now, or None when it is too early."""
        if self._pinged_s is not None and now_s - self._pinged_s < self._interval_s:
            return None
        self._pinged_s = now_s
        self._count += 1
        self.asked(now_s)
        if self._sample is None:
            self._sample = (self._count, now_s)
        return self._count

    def ponged(self, n: int, now_s: float) -> None:
        """Take the answer to ping `n`; one that was never sent measures nothing."""
        if self._sample is None or not self._sample[0] <= n <= self._count:
            return
        if n == self._sample[0]:
            self.latency_s = now_s - self._sample[1]
        self._sample = None
