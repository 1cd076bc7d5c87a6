"""Identifiers: who is who, as distinct types, and how new ones are made.

An id is a boot prefix and a counter (`<boot>-<n>`): unique without asking anybody, cheap enough for
the hot path, and it says which process made it. The prefix is random per process start, so a token
made from it is never used twice, which is what fencing rests on (DESIGN §5).
"""

from __future__ import annotations

from typing import NewType, Protocol

TaskId = NewType("TaskId", str)
WorkerId = NewType("WorkerId", str)  # `host:port` of the worker's entry in workers.json
BootId = NewType(
    "BootId", str
)  # random per process start; a new one means the old attempts are gone
Token = NewType("Token", str)  # names one attempt; never used twice
CorrelationId = NewType("CorrelationId", str)

LaneKey = tuple[
    str, int, str
]  # (group, contract, function): the tasks that wait for the same thing
PoolKey = tuple[str, int]  # (group, contract): the workers that host the same functions


class IdSource(Protocol):
    """Makes new identifiers; the real one is `shared.system.SystemIds`."""

    @property
    def boot(self) -> BootId:
        """Return the id of this process start."""
        ...

    def next_id(self) -> str:
        """Return an id that no other call and no other process returns."""
        ...


class SequentialIds:
    """An `IdSource` that counts: the boot prefix is given, the number goes up by one.

    Args:
        boot: the prefix; unique per process start in production, chosen in tests.
    """

    __slots__ = ("_count", "_prefix", "boot")

    def __init__(self, boot: str) -> None:
        self.boot = BootId(boot)
        self._prefix = f"{boot}-"
        self._count = 0

    def next_id(self) -> str:
        """Return `<boot>-<n>` with the next n."""
        self._count = count = self._count + 1
        return f"{self._prefix}{count:x}"
