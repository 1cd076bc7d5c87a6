"""`dns+http://workers:3000`: one entry that stands for every address of a name (contract §6).

A name that suddenly resolves to nothing keeps its last answer: a resolver's hiccup is no order to
drain the fleet. Answers are asked for in the background, so that a resolver that hangs delays nobody.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import urlsplit

from balancer.fleet.roster import Entry
from shared.ids import WorkerId

MAX_ADDRESSES = 1000  # of one name
RESOLVE_S = 3.0

# (host, port) → addresses; raises OSError when there are none.
Resolve = Callable[[str, int | None], Awaitable[list[str]]]


async def addresses_of(host: str, port: int | None) -> list[str]:
    """Ask the system's resolver.

    Raises:
        OSError: the name has no address, or nobody could be asked.
    """
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


class Names:
    """Expands entries by the last answer of each name.

    Args:
        answered: called when an answer has changed, or a name was asked for the first time.
        resolve: asks a resolver.
    """

    def __init__(self, answered: Callable[[], None], resolve: Resolve = addresses_of) -> None:
        self._answered = answered
        self._resolve = resolve
        self._answers: dict[str, list[str]] = {}  # by URL; empty until the first good one
        self._asking: dict[str, asyncio.Task[None]] = {}

    def ask(self, entries: list[Entry]) -> None:
        """Ask again for every name that is not being asked for."""
        for entry in entries:
            if entry.dns and entry.url not in self._asking:
                asking = asyncio.get_running_loop().create_task(self._ask(entry.url))
                self._asking[entry.url] = asking
                asking.add_done_callback(lambda _, url=entry.url: self._asking.pop(url, None))

    def expand(self, entries: list[Entry]) -> list[Entry]:
        """Return the entries with every `dns` one replaced by one an address, without duplicates."""
        found: dict[WorkerId, Entry] = {}
        for entry in entries:
            for expanded in self._addresses(entry) if entry.dns else (entry,):
                found.setdefault(expanded.id, expanded)
        return list(found.values())

    def asked(self, entries: list[Entry]) -> bool:
        """Tell whether every name has been answered or has failed once."""
        return all(entry.url in self._answers for entry in entries if entry.dns)

    async def close(self) -> None:
        """Stop asking."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

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

    async def _ask(self, url: str) -> None:
        parts = urlsplit(url)
        addresses: list[str] = []
        try:
            async with asyncio.timeout(RESOLVE_S):
                addresses = await self._resolve(parts.hostname or "", parts.port)
        except (OSError, TimeoutError, UnicodeError):  # UnicodeError: no name at all
            pass
        # Sorted, because resolvers rotate their answers and places decide the reference worker.
        answer = sorted(set(addresses))[:MAX_ADDRESSES]
        before = self._answers.get(url)
        if before is None or (answer and answer != before):
            self._answers[url] = answer
            self._answered()
