"""Webhooks that wait in memory for a try, by host: hosts take turns, none has more tries than its limit.

A host at its limit, or with a long queue, does not stand in the way of others.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.store.ports import OutboxRow


class Host:
    """What waits for one host and port, its bytes, and how many of its tries are being made."""

    __slots__ = ("in_turn", "name", "rows", "trying", "waiting_bytes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: deque[OutboxRow] = deque()
        self.waiting_bytes = 0
        self.trying = 0
        self.in_turn = False


class HostQueues:
    """Queues of hosts.

    Args:
        host_limit: tries at once to one host.

    Attributes:
        waiting: rows that wait, of all hosts.
        waiting_bytes: of their bodies.
        trying: tries that were begun and have not ended.
    """

    def __init__(self, host_limit: int) -> None:
        self._host_limit = host_limit
        self._hosts: dict[str, Host] = {}  # with something waiting or being tried
        self._turns: deque[Host] = deque()  # with something waiting and a try free
        self.waiting = 0
        self.waiting_bytes = 0
        self.trying = 0

    def waiting_for(self, name: str) -> int:
        """Return the rows that wait for a host."""
        host = self._hosts.get(name)
        return 0 if host is None else len(host.rows)

    def bytes_for(self, name: str) -> int:
        """Return the bytes of the bodies that wait for a host."""
        host = self._hosts.get(name)
        return 0 if host is None else host.waiting_bytes

    def waiting_hosts(self) -> list[str]:
        """Return the hosts that rows wait for."""
        return [host.name for host in self._hosts.values() if host.rows]

    def add(self, row: OutboxRow) -> None:
        """Let a row wait behind the others of its host."""
        name = row.host
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(name)
        host.rows.append(row)
        self.waiting += 1
        self.waiting_bytes += len(row.body)
        host.waiting_bytes += len(row.body)
        self._line_up(host)

    def begin(self) -> tuple[Host, OutboxRow] | None:
        """Return the row whose try begins now; None when none can begin."""
        if not self._turns:
            return None
        host = self._turns.popleft()
        host.in_turn = False
        row = host.rows.popleft()
        host.trying += 1
        self.trying += 1
        self.waiting -= 1
        self.waiting_bytes -= len(row.body)
        host.waiting_bytes -= len(row.body)
        self._line_up(host)
        return host, row

    def ended(self, host: Host) -> None:
        """Note that a try of a host has ended."""
        host.trying -= 1
        self.trying -= 1
        self._line_up(host)
        if not host.trying and not host.rows:
            self._hosts.pop(host.name, None)

    def clear(self) -> list[OutboxRow]:
        """Forget what waits, and return it."""
        rows = [row for host in self._hosts.values() for row in host.rows]
        self._turns.clear()
        self.waiting = self.waiting_bytes = 0
        for host in list(self._hosts.values()):
            host.rows.clear()
            host.waiting_bytes = 0
            host.in_turn = False
            if not host.trying:
                del self._hosts[host.name]
        return rows

    def _line_up(self, host: Host) -> None:
        if host.rows and not host.in_turn and host.trying < self._host_limit:
            host.in_turn = True
            self._turns.append(host)
