"""A resolver whose answers a test writes."""

from __future__ import annotations

import asyncio


class ScriptedNames:
    """Resolves by a table.

    Attributes:
        answers: addresses by name; no addresses, or no such name, is a failure.
        asked: questions so far.
    """

    def __init__(self, answers: dict[str, list[str]], *, hangs: set[str] | None = None) -> None:
        self.answers = answers
        self.asked = 0
        self._hangs = hangs or set[str]()

    async def resolve(self, host: str, port: int | None) -> list[str]:
        """Answer, or hang for ever."""
        del port
        self.asked += 1
        if host in self._hangs:
            await asyncio.Event().wait()
        addresses = self.answers.get(host, [])
        if not addresses:
            raise OSError(None, "Name or service not known")
        return addresses
