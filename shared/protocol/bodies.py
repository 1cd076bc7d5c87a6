"""Large bodies on their way: cut into parts that take turns on one side, put together on the other.

Whatever follows a body under the same token waits behind it (a chunk never overtakes another, a
result comes after its chunks); everything else passes in between.

    lane of token a:  [body ▓▓▓▒▒▒] [chunk 7] [finished]     each lane in order,
    lane of token b:  [body ▓▒▒▒▒▒]                          lanes in turn, one part a frame
"""

from __future__ import annotations

from collections import deque
from io import BytesIO
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from shared.protocol.limits import (
    MAX_BODIES,
    MAX_BODIES_BYTES,
    MAX_BODY,
    MAX_HALVES_BYTES,
    PART_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.protocol.messages import Message

M = TypeVar("M")


class Large:
    """A body that is cut into parts.

    Args:
        data: the body.
        part: makes the message of a part from its bytes and whether it is the last.
        head: message that announces the body, sent with its first part.
        stop: message that makes the reader forget the parts it has.
    """

    __slots__ = ("_offset", "_part", "data", "head", "stop")

    def __init__(
        self,
        data: bytes,
        part: Callable[[bytes, bool], Message],
        *,
        head: Message | None = None,
        stop: Message | None = None,
    ) -> None:
        self.data = data
        self.head = head
        self.stop = stop
        self._part = part
        self._offset = 0

    def cut(self) -> list[Message]:
        """Return the next part, after the head when it is the first."""
        start, end = self._offset, self._offset + PART_BYTES
        self._offset = end
        part = self._part(self.data[start:end], end >= len(self.data))
        return [self.head, part] if start == 0 and self.head is not None else [part]

    @property
    def begun(self) -> bool:
        """Tell whether a part has been cut."""
        return self._offset > 0

    @property
    def spent(self) -> bool:
        """Tell whether the last part has been cut."""
        return self._offset >= len(self.data)


class Follower(NamedTuple):
    """A small message that waits behind a body of its token."""

    message: Message
    size: int


class Turn(NamedTuple):
    """What one turn brings.

    Attributes:
        messages: of this frame, at most a head and one part.
        followers: what waited behind the body that has just ended.
        next: token whose next body is to be queued again, behind those followers.
    """

    messages: list[Message]
    followers: list[Follower]
    next: str | None = None


class Dropped(NamedTuple):
    """What was queued under a token and will not be sent.

    Attributes:
        stop: of the body of which the reader has some parts.
        unsent: heads of bodies, begun or not, and followers.
    """

    stop: Message | None
    unsent: list[Message]


class _Lane:
    """What is to be sent under one token: a body at the head, and what came after it."""

    __slots__ = ("body", "not_before", "token", "waiting")

    def __init__(self, token: str, body: Large) -> None:
        self.token = token
        self.body = body
        self.not_before = 0
        self.waiting: deque[Large | Follower] = deque()


class BodyTurns:
    """The outgoing bodies of a link, round robin.

    At most MAX_BODIES bodies of MAX_BODIES_BYTES together are on their way at once, so that a reader
    needs no more room than that; the others wait, first come, first served.

    Attributes:
        size: bytes of the bodies and followers that have not been sent in full.
    """

    __slots__ = ("_lanes", "_moving", "_moving_bytes", "_parked", "size")

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._moving: deque[_Lane] = deque()
        self._moving_bytes = 0
        self._parked: deque[_Lane] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def __contains__(self, token: str) -> bool:
        return token in self._lanes

    def add(self, token: str, body: Large, not_before: int = 0) -> None:
        """Queue a body, behind what its token has here already.

        Args:
            token: the token of its parts.
            body: what is to be sent.
            not_before: number of the frame that brings what was queued before it; never less than
                in an earlier call.
        """
        self.size += len(body.data)
        lane = self._lanes.get(token)
        if lane is not None:
            lane.waiting.append(body)
            return
        self._lanes[token] = _Lane(token, body)
        self.park(token, not_before)

    def park(self, token: str, not_before: int) -> None:
        """Let the first body of a token wait for its place among those that are on their way."""
        lane = self._lanes[token]
        lane.not_before = not_before
        self._parked.append(lane)

    def follow(self, token: str, message: Message, size: int) -> None:
        """Queue a small message behind the bodies of its token, of which there must be one."""
        self._lanes[token].waiting.append(Follower(message, size))
        self.size += size

    def drop(self, token: str) -> Dropped | None:
        """Forget what is queued under a token; None when there is nothing."""
        lane = self._lanes.pop(token, None)
        if lane is None:
            return None
        if lane in self._parked:
            self._parked.remove(lane)
        else:
            self._moving.remove(lane)
            self._moving_bytes -= len(lane.body.data)
        unsent: list[Message] = []
        for item in (lane.body, *lane.waiting):
            self.size -= len(item.data) if isinstance(item, Large) else item.size
            message = item.head if isinstance(item, Large) else item.message
            if message is not None:
                unsent.append(message)
        return Dropped(lane.body.stop if lane.body.begun else None, unsent)

    def turn(self, frame: int = 0) -> Turn | None:
        """Cut the next part, for the frame of this number; None when no body may travel in it."""
        self._start_parked(frame)
        if not self._moving:
            return None
        lane = self._moving.popleft()
        messages = lane.body.cut()
        if not lane.body.spent:
            self._moving.append(lane)
            return Turn(messages, [])
        self._moving_bytes -= len(lane.body.data)
        self.size -= len(lane.body.data)
        return self._advance(lane, messages)

    def _start_parked(self, frame: int) -> None:
        while self._parked and len(self._moving) < MAX_BODIES:
            lane = self._parked[0]
            size = len(lane.body.data)
            if lane.not_before > frame or self._moving_bytes + size > MAX_BODIES_BYTES:
                return
            self._moving.append(self._parked.popleft())
            self._moving_bytes += size

    def _advance(self, lane: _Lane, messages: list[Message]) -> Turn:
        """Release what waited behind a body that has ended, up to the next body of the token."""
        released: list[Follower] = []
        while lane.waiting:
            item = lane.waiting.popleft()
            if isinstance(item, Large):
                lane.body = item
                return Turn(messages, released, lane.token)
            released.append(item)
            self.size -= item.size
        del self._lanes[lane.token]
        return Turn(messages, released)


class Whole(NamedTuple, Generic[M]):
    """A body that is complete.

    Attributes:
        message: the one that announced it.
        data: the body.
    """

    message: M
    data: bytes


class _Half(Generic[M]):
    """A body of which parts are missing.

    Its parts gather in a `BytesIO`, which gives out the whole without a copy: one of 10 MB takes 7 ms.
    """

    __slots__ = ("data", "got", "message", "size")

    def __init__(self, message: M, size: int | None) -> None:
        self.message = message
        self.size = size
        self.got = 0
        self.data = BytesIO()


class Assembly(Generic[M]):
    """The incoming bodies of a link, by token; messages of the kind M announce them.

    Args:
        max_count: bodies that may be incomplete at once.
    """

    __slots__ = ("_halves", "_max_count", "size")

    def __init__(self, max_count: int) -> None:
        self._halves: dict[str, _Half[M]] = {}
        self._max_count = max_count
        self.size = 0  # bytes held

    def __len__(self) -> int:
        return len(self._halves)

    def __contains__(self, token: str) -> bool:
        return token in self._halves

    def announced_by(self, token: str) -> M | None:
        """Return the message that announced the incomplete body of a token, if there is one."""
        half = self._halves.get(token)
        return None if half is None else half.message

    def begin(self, token: str, message: M, size: int | None = None) -> str:
        """Expect a body, in place of an incomplete one of the same token.

        Args:
            token: the token of its parts.
            message: kept until the body is complete.
            size: bytes that were announced; None when its end only will tell.

        Returns:
            what is wrong with it, or "".
        """
        self.drop(token)
        if size is not None and not 0 < size <= MAX_BODY:
            return f"body of {size} bytes announced, 1 to {MAX_BODY} are allowed"
        if len(self._halves) >= self._max_count:
            return f"more than {self._max_count} bodies at once"
        self._halves[token] = _Half(message, size)
        return ""

    def add(self, token: str, data: bytes, last: bool) -> Whole[M] | str:
        """Take a part of an expected body.

        Returns:
            the body when it is complete, else what is wrong with it, or "".
        """
        half = self._halves[token]
        got = half.got + len(data)
        if got > (MAX_BODY if half.size is None else half.size):
            return f"body is larger than its {half.size or MAX_BODY} bytes"
        self.size += len(data)
        if self.size > MAX_HALVES_BYTES:
            return f"more than {MAX_HALVES_BYTES} bytes of bodies at once"
        half.got = got
        half.data.write(data)
        if not last:
            return "" if data else "empty part that is not the last"
        if half.size is not None and got != half.size:
            return f"body ends after {got} of its {half.size} bytes"
        self.drop(token)
        return Whole(half.message, half.data.getvalue())

    def drop(self, token: str) -> bool:
        """Forget an incomplete body; False when there is none."""
        half = self._halves.pop(token, None)
        if half is None:
            return False
        self.size -= half.got
        return True

    def clear(self) -> list[M]:
        """Forget all incomplete bodies; return the messages that announced them, oldest first."""
        messages = [half.message for half in self._halves.values()]
        self._halves.clear()
        self.size = 0
        return messages
