"""The client's calls about dead letters: a part of `Client`, which sends them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from shared.client.answers import decode
from shared.client.records import (
    DeadLetterInfo,
    DeadLetterPage,
    PurgedCount,
    ReplayedInfo,
    ReplayedMany,
)

if TYPE_CHECKING:
    from datetime import datetime

    from shared.client.ask import Answer


class DeadLetterCalls(ABC):
    """Lists, replays and purges what failed for good."""

    @abstractmethod
    async def _ask(
        self, method: str, path: str, body: bytes | None = None, *, may_be_taken: bool = False
    ) -> Answer:
        """Send a request within the client's limit and return its answer."""

    async def dead_letters(
        self,
        *,
        kind: str | None = None,
        function: str | None = None,
        group: str | None = None,
        code: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DeadLetterPage:
        """Return a page of dead letters, newest first.

        Args:
            kind: task, webhook or quarantine.
            function, group, code: only of these.
            since, before: only those given up in this time; with a time zone.
            limit: letters on a page.
            cursor: the `next` of the page before.
        """
        asked = _filter(kind, function, group, code, since, before)
        asked |= {} if limit is None else {"limit": str(limit)}
        asked |= {} if cursor is None else {"cursor": cursor}
        answer = await self._ask("GET", f"/dead?{urlencode(asked)}")
        return decode(answer.body, DeadLetterPage)

    async def dead_letter(self, letter_id: str) -> DeadLetterInfo:
        """Return a dead letter with its task.

        Raises:
            NotFound: no such letter (any more).
        """
        return decode((await self._ask("GET", _path(letter_id))).body, DeadLetterInfo)

    async def replay(self, letter_id: str) -> ReplayedInfo:
        """Run a failed task again as a new one, send a webhook again, or release a quarantined task.

        Raises:
            NotFound: no such letter: it may have been replayed already.
            QueueFull: too many durable tasks are unfinished.
        """
        answer = await self._ask("POST", f"{_path(letter_id)}/replay", may_be_taken=True)
        return decode(answer.body, ReplayedInfo)

    async def replay_all(
        self,
        *,
        kind: str | None = None,
        function: str | None = None,
        group: str | None = None,
        code: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int | None = None,
    ) -> ReplayedMany:
        """Replay the letters that match, the newest 100 unless `limit` says otherwise; as `dead_letters`."""
        asked: dict[str, str | int] = {**_filter(kind, function, group, code, since, before)}
        asked |= {} if limit is None else {"limit": limit}
        body = msgspec.json.encode(asked)
        answer = await self._ask("POST", "/dead/replay", body, may_be_taken=True)
        return decode(answer.body, ReplayedMany)

    async def purge(self, letter_id: str) -> None:
        """Forget a dead letter; a quarantined task has then failed for good.

        Raises:
            NotFound: no such letter.
        """
        await self._ask("DELETE", _path(letter_id))

    async def purge_all(
        self,
        *,
        kind: str | None = None,
        function: str | None = None,
        group: str | None = None,
        code: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> int:
        """Forget the letters that match, without a filter all of them; return how many those were."""
        asked = _filter(kind, function, group, code, since, before) or {"all": "true"}
        answer = await self._ask("DELETE", f"/dead?{urlencode(asked)}")
        return decode(answer.body, PurgedCount).purged

    async def release(self, task_id: str) -> None:
        """Send a quarantined task back to its queue.

        Raises:
            NotFound: no such task.
            Conflict: it is not quarantined.
        """
        path = f"/tasks/{quote(task_id, safe='')}/release"
        await self._ask("POST", path, may_be_taken=True)


def _path(letter_id: str) -> str:
    return f"/dead/{quote(letter_id, safe='')}"


def _filter(
    kind: str | None, function: str | None, group: str | None, code: str | None,
    since: datetime | None, before: datetime | None,
) -> dict[str, str]:  # fmt: skip
    asked = {
        "kind": kind, "function": function, "group": group, "code": code,
        "since": None if since is None else since.isoformat(),
        "before": None if before is None else before.isoformat(),
    }  # fmt: skip
    return {name: value for name, value in asked.items() if value is not None}
