"""`dns+http://workers:3000`: one entry that stands for every address of a name (contract §6).

A name that suddenly resolves to nothing keeps its last answer: a resolver's hiccup is no order to
drain the fleet.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from urllib.parse import urlsplit

from balancer.fleet.roster import Entry
from shared.ids import WorkerId

MAX_ADDRESSES = 1000  # of one name
RESOLVE_S = 3.0


class Names:
    """Expands entries, remembering the last answer of each name."""

    def __init__(self) -> None:
        self._answers: dict[str, list[str]] = {}

    async def expand(self, entries: list[Entry]) -> list[Entry]:
        """Return the entries with every `dns` one replaced by one an address, without duplicates."""
        named = [entry for entry in entries if entry.dns]
        await asyncio.gather(*(self._resolve(entry) for entry in named))
        found: dict[WorkerId, Entry] = {}
        for entry in entries:
            for expanded in self._addresses(entry) if entry.dns else (entry,):
                found.setdefault(expanded.id, expanded)
        return list(found.values())

    def _addresses(self, entry: Entry) -> list[Entry]:
        parts = urlsplit(entry.url)
        expanded: list[Entry] = []
        for address in self._answers.get(entry.url, []):
            host = f"[{address}]" if ":" in address else address
            where = f"{host}:{parts.port}"
            expanded.append(
                replace(entry, url=f"{parts.scheme}://{where}", id=WorkerId(where), dns=False)
            )
        return expanded

    async def _resolve(self, entry: Entry) -> None:
        parts = urlsplit(entry.url)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_S):
                infos = await loop.getaddrinfo(
                    parts.hostname or "", parts.port, type=socket.SOCK_STREAM
                )
        except (OSError, TimeoutError):
            return
        # Sorted, because resolvers rotate their answers and places decide the reference worker.
        addresses = sorted({str(info[4][0]) for info in infos})[:MAX_ADDRESSES]
        if addresses:
            self._answers[entry.url] = addresses
