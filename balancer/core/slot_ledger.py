"""What a worker's slots are known to be: the rule that decides whether it may get one more task.

A link numbers its dispatches 1, 2, 3 … and a report says the number of the last one its worker had
read when it was cut (`seen`). So

    free = available − (sent − seen) − loading

where `loading` counts reserved dispatches that have no number yet because their input is still being
read from the store. Only a report frees: an attempt that ends does not, because the worker counts
its code until it has really ended. A report with a lower `seen` than one before it is stale and
changes nothing, so the order of reports does not matter (DESIGN §2).

A plain HTTP worker numbers nothing and queues for itself:

    free = limit − max(attempts in flight, used as reported)

What the network says is clamped, never believed: negative numbers are zero, a worker has at most
`MAX_SLOTS`, more cannot be available than there are, more cannot be seen than was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.slot_report import SlotReport

MAX_SLOTS = 65_536  # of one worker; no machine runs more at a time, so more is a broken report


class SlotLedger:
    """The slots of a worker on a link.

    Attributes:
        free: slots that may get a task now; never negative.
        limit: slots the worker has.
        used: slots held by code, as reported.
        maintenance: the worker takes no new task.
    """

    __slots__ = (
        "_available",
        "_loading",
        "_resting",
        "_seen",
        "_sent",
        "free",
        "limit",
        "maintenance",
        "used",
    )

    def __init__(self) -> None:
        self._sent = 0
        self._seen = 0
        self._available = 0
        self._loading = 0
        self._resting = False
        self.free = 0
        self.limit = 0
        self.used = 0
        self.maintenance = False

    def reopen(self, report: SlotReport) -> None:
        """Start counting anew: a new link begins with this report and no dispatch."""
        self._sent = self._seen = self._loading = 0
        self.report(report)

    def report(self, report: SlotReport) -> None:
        """Take a report, unless one that saw more has come before it."""
        seen = report.seen
        if seen < self._seen:
            return
        self._seen = seen if seen < self._sent else self._sent
        self._learn(report)
        self._resting = False
        available = 0 if report.maintenance else report.available
        self._available = available if available < self.limit else self.limit
        self._count()

    def take(self) -> None:
        """Reserve a slot for a dispatch that gets the next number now."""
        self._sent += 1
        if self.free:  # what `_count` finds too, on the way of every task
            self.free -= 1

    def untake(self) -> None:
        """Undo the last `take` of a dispatch that could not be sent, so has no number."""
        self._sent -= 1
        self._count()

    def load(self) -> None:
        """Reserve a slot for a dispatch that gets its number later."""
        self._loading += 1
        self._count()

    def loaded(self) -> None:
        """Let a loading dispatch get the next number now."""
        self._loading -= 1
        self._sent += 1

    def unload(self) -> None:
        """Release the slot of a loading dispatch that will not be sent."""
        self._loading -= 1
        self._count()

    def ended(self) -> None:
        """Note the end of an attempt. It frees nothing here: the report that follows does."""

    def shut(self) -> None:
        """Give no slot until the next report: something could not be sent."""
        self._available = 0
        self._count()

    def rest(self) -> None:
        """Give no slot until the next report or `wake`: it refused although it said it had room."""
        self._resting = True
        self._count()

    def wake(self) -> None:
        """End a rest."""
        self._resting = False
        self._count()

    def _learn(self, report: SlotReport) -> None:
        self.limit = min(max(report.limit, 0), MAX_SLOTS)
        self.used = max(report.used, 0)
        self.maintenance = report.maintenance

    def _count(self) -> None:
        free = self._available - self._sent + self._seen - self._loading
        self.free = free if free > 0 and not self._resting else 0


class HttpSlots(SlotLedger):
    """The slots of a plain HTTP worker."""

    __slots__ = ("_in_flight", "_open")

    def __init__(self) -> None:
        super().__init__()
        self._in_flight = 0
        self._open = False

    def reopen(self, report: SlotReport) -> None:
        """Take a report; calls in flight go on, whatever happens to the slot socket."""
        self.report(report)

    def report(self, report: SlotReport) -> None:
        """Take a report: the last one told counts."""
        self._learn(report)
        self._resting = False
        # None available although not all are used: a service is down, or it could not be reached.
        self._open = not report.maintenance and (report.available > 0 or self.used >= self.limit)
        self._count()

    def take(self) -> None:
        """Reserve a slot for a call."""
        self._in_flight += 1
        self._count()

    def load(self) -> None:
        """Reserve a slot for a call whose input is still being read."""
        self.take()

    def loaded(self) -> None:
        """Do nothing: calls have no numbers."""

    def ended(self) -> None:
        """Note the end of a call: its slot is free unless the worker says otherwise."""
        self._in_flight -= 1
        self._count()

    def untake(self) -> None:
        """Undo a `take`."""
        self.ended()

    def unload(self) -> None:
        """Undo a `load`."""
        self.ended()

    def shut(self) -> None:
        """Give no slot until the next report."""
        self._open = False
        self._count()

    def _count(self) -> None:
        busy = self._in_flight if self._in_flight > self.used else self.used
        open_ = self._open and not self._resting
        self.free = self.limit - busy if open_ and self.limit > busy else 0
