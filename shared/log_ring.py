"""The last lines of a process's log, for `GET /logs`: a ring that costs little until it is read.

A line of Andera's form is `[ISO] [LEVEL] [PREFIX] text`. What happens to tasks is kept as values and
becomes an entry, and then text, when somebody reads it. Followers have a bounded queue each; one that is too slow loses
lines and is told how many.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from shared.errors import Failure, failure
from shared.redaction import redacted_text
from shared.telemetry import EVENTS, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.clock import Clock

LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
MAX_FOLLOWERS = 32  # each costs every line a call
MAX_UNREAD = 1000  # lines that a follower may be behind
ANCHOR_S = 1.0  # so soon do the times of noted lines follow when somebody sets the wall clock

Anchor = tuple[datetime, float]  # the wall clock and the monotonic one at the same moment
# (anchor, monotonic time, action, (level, prefix), task id, names of the fields, their values)
Note = tuple[
    Anchor, float, str, tuple[str, str], str, tuple[str, ...], tuple[object, ...]
]  # an entry to be: on the hot path an object and a dict cost more than all the rest


class Entry:
    """One line before it is text.

    Attributes:
        at: when.
        level: debug, info, warn or error.
        action: event of the catalogue; "" for a plain line.
        prefix: what of the process speaks.
        task_id: task concerned; "" for none.
        fields: of the event.
    """

    __slots__ = ("_text", "action", "at", "fields", "level", "prefix", "task_id")

    def __init__(
        self, at: datetime, level: str, prefix: str, task_id: str, action: str,
        fields: dict[str, object], text: str | None,
    ) -> None:  # fmt: skip
        self.at = at
        self.level = level
        self.prefix = prefix
        self.task_id = task_id
        self.action = action
        self.fields = fields
        self._text = text

    @property
    def text(self) -> str:
        """Return the text, without secrets and line breaks; made once."""
        if self._text is None:
            self._text = redacted_text(describe(self.action, self.fields))
        return self._text

    @property
    def line(self) -> str:
        """Return the line in Andera's form; a task's names its id."""
        task = f" task_id={self.task_id}" if self.task_id else ""
        correlation = self.fields.get("correlation_id")
        if correlation:
            task += f" correlation_id={correlation}"
        text = one_line(f"{self.text}{task}")
        return f"[{iso(self.at)}] [{self.level.upper()}] [{self.prefix}] {text}"


class LogQuery(NamedTuple):
    """Which lines are wanted (`GET /logs`).

    Attributes:
        limit: the last so many; None for all that are kept.
        level: this level and those above.
        since: not older than this.
        task_id: of this task only.
        follow: go on with new ones.
    """

    limit: int | None = None
    level: str = "debug"
    since: datetime | None = None
    task_id: str | None = None
    follow: bool = False

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> LogQuery | Failure:
        """Read the query of a URL; unknown names are ignored."""
        limit, level, since = given.get("limit"), given.get("level"), given.get("since")
        query = cls(task_id=given.get("task_id") or None, follow=given.get("follow") == "sse")
        if given.get("follow") not in (None, "sse"):
            return failure("invalid_field", "Invalid follow: must be sse")
        if limit is not None:
            if not (limit.isascii() and limit.isdigit() and 0 < len(limit) < 10 and int(limit) > 0):
                return failure("invalid_field", "Invalid limit: must be an integer of at least 1")
            query = query._replace(limit=int(limit))
        if level is not None:
            level = "warn" if level.lower() == "warning" else level.lower()
            if level not in LEVELS:
                return failure(
                    "invalid_field", f"Invalid level: must be one of {', '.join(LEVELS)}"
                )
            query = query._replace(level=level)
        if since is not None:
            moment = moment_of(since)
            if moment is None:
                return failure("invalid_field", "Invalid since: must be an ISO 8601 date and time")
            query = query._replace(since=moment)
        return query

    def matches(self, entry: Entry) -> bool:
        """Tell whether a line is wanted."""
        return (
            LEVELS[entry.level] >= LEVELS[self.level]
            and (self.since is None or entry.at >= self.since)
            and (self.task_id is None or entry.task_id == self.task_id)
        )


class Writer(Protocol):
    """Takes the entries of tasks that are to be written to the stream, sooner or later.

    Attributes:
        room: entries that it takes now; while there is none they need not be made.
        skipped: entries that were not; whoever does not make one adds 1.
    """

    room: int
    skipped: int

    def offer(self, entry: Entry) -> None:
        """Take one; must not block."""
        ...


class Subscription:
    """A follower of the ring; `close` it when its reader is gone.

    Attributes:
        notify: called when there is something to take.
    """

    def __init__(self, ring: LogRing, query: LogQuery, notify: Callable[[], None]) -> None:
        self.notify = notify
        self._ring = ring
        self._query = query
        self._unread: deque[Entry] = deque()
        self._dropped = 0

    def offer(self, entry: Entry) -> None:
        """Take an entry if it is wanted; the oldest unread one makes place."""
        if not self._query.matches(entry):
            return
        if len(self._unread) == MAX_UNREAD:
            self._unread.popleft()
            self._dropped += 1
        self._unread.append(entry)
        self.notify()

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        lines = [entry.line for entry in self._unread]
        if self._dropped:
            lines.insert(0, f"… {self._dropped} lines were dropped, the reader was too slow")
        self._unread.clear()
        self._dropped = 0
        return lines

    def close(self) -> None:
        """Follow no more."""
        self._ring.unsubscribe(self)


class LogRing:
    """The last lines.

    Args:
        clock: tells when a line was made.
        max_lines: MAX_LOGS.
        level: LOG_LEVEL: what is below it is not kept.

    Attributes:
        writer: takes what is to be written to the stream; None to write nothing.
        kept: actions that are kept, with the level and the prefix of their lines.
    """

    def __init__(self, clock: Clock, *, max_lines: int = 1000, level: str = "info") -> None:
        self.writer: Writer | None = None
        self._clock = clock
        self._entries: deque[Entry | Note] = deque(maxlen=max_lines)
        self.kept = {
            action: (row.level, action[: action.index(".")].upper())
            for action, row in EVENTS.items()
            if LEVELS[row.level] >= LEVELS[level]
        }
        self._followers: list[Subscription] = []
        self._anchor: Anchor = (datetime.min.replace(tzinfo=UTC), float("-inf"))

    def task_line(self, action: str, task_id: str = "", /, **fields: object) -> None:
        """Keep what happened to a task; it becomes text when somebody reads it.

        Args:
            action: of the catalogue.
            task_id: the task; "" when it got no id.
            fields: of the event; plain values that nobody changes afterwards.
        """
        self.keep_task(action, task_id, fields)

    def keep_task(self, action: str, task_id: str, fields: dict[str, object]) -> None:
        """Do the same with fields that are a dict already; nobody changes it afterwards."""
        kept = self.kept.get(action)
        if kept is None:
            return
        level, prefix = kept
        self._keep_task(Entry(self._clock.utc_now(), level, prefix, task_id, action, fields, None))

    def note_task(
        self, action: str, task_id: str, names: tuple[str, ...], values: tuple[object, ...], now_s: float
    ) -> None:  # fmt: skip
        """Do the same at the least cost, for what happens to every task.

        Args:
            action: of the catalogue.
            task_id: the task.
            names: of the fields.
            values: theirs, in the same order; nobody changes them afterwards.
            now_s: now, on the monotonic clock.
        """
        kept = self.kept.get(action)
        if kept is None:
            return
        if now_s - self._anchor[1] > ANCHOR_S:
            self._anchor = (self._clock.utc_now(), now_s)
        note = (self._anchor, now_s, action, kept, task_id, names, values)
        writer = self.writer
        if self._followers or (writer is not None and writer.room):
            self._keep_task(_entry(note))
            return
        self._entries.append(note)
        if writer is not None:
            writer.skipped += 1

    def add(
        self, level: str, prefix: str, text: str, *, task_id: str = "", action: str = ""
    ) -> None:
        """Keep a line that was written to the stream already."""
        now = self._clock.utc_now()
        self._keep(Entry(now, level, prefix.upper(), task_id, action, {}, redacted_text(text)))

    def lines(self, query: LogQuery | None = None) -> list[str]:
        """Return the lines that are wanted, oldest first."""
        wanted = query or LogQuery()
        entries = (
            each if isinstance(each, Entry) else _entry(each) for each in tuple(self._entries)
        )
        found = [entry for entry in entries if wanted.matches(entry)]
        if wanted.limit is not None:
            found = found[-wanted.limit :]
        return [entry.line for entry in found]

    def subscribe(self, query: LogQuery, notify: Callable[[], None]) -> Subscription | Failure:
        """Follow the lines that come from now on."""
        if len(self._followers) >= MAX_FOLLOWERS:
            return failure(
                "queue_full", f"At most {MAX_FOLLOWERS} can follow the log", retry_after_s=10
            )
        follower = Subscription(self, query, notify)
        self._followers.append(follower)
        return follower

    @property
    def followers(self) -> int:
        """Return how many follow."""
        return len(self._followers)

    def unsubscribe(self, follower: Subscription) -> None:
        """Forget a follower; a second time does nothing."""
        if follower in self._followers:
            self._followers.remove(follower)

    def _keep_task(self, entry: Entry) -> None:
        self._keep(entry)
        if self.writer is not None:
            self.writer.offer(entry)

    def _keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        for follower in self._followers:
            follower.offer(entry)


def _entry(note: Note) -> Entry:
    (wall, mono_s), now_s, action, (level, prefix), task_id, names, values = note
    at = wall + timedelta(seconds=now_s - mono_s)
    return Entry(at, level, prefix, task_id, action, dict(zip(names, values, strict=True)), None)


def iso(at: datetime) -> str:
    """Return a moment as Andera writes it: UTC with milliseconds and Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def one_line(text: str) -> str:
    """Return a text whose line breaks and control characters are escaped: nobody forges a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def moment_of(text: str) -> datetime | None:
    """Return the ISO 8601 moment of a query, in UTC unless it says otherwise; None when it is none."""
    try:
        # A `+` of an offset that was not escaped in the URL has become a space.
        moment = datetime.fromisoformat(
            text.replace(" ", "+") if text.count(" ") == 1 and "T" in text else text
        )
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
