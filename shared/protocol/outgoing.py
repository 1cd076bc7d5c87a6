"""What is to be sent on a link: small messages in order, bodies in turn, cut into frames on demand."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from shared.protocol.bodies import BodyTurns
from shared.protocol.limits import BATCH_MESSAGES, FRAME_BYTES

if TYPE_CHECKING:
    from shared.protocol.bodies import Large
    from shared.protocol.messages import Message


class Outgoing:
    """The queue of one link.

    Small messages gather in a batch; a batch that is full is closed and a new one begun, so that
    cutting a frame never has to look at its messages again.

    Attributes:
        bodies: what travels in parts.
    """

    __slots__ = ("_batch", "_batch_bytes", "_closed", "_closed_bytes", "_taken", "bodies")

    def __init__(self) -> None:
        self.bodies = BodyTurns()
        self._batch: list[Message] = []
        self._batch_bytes = 0
        self._closed: deque[tuple[list[Message], int]] = deque()
        self._closed_bytes = 0
        self._taken = 0  # batches that have left

    @property
    def size(self) -> int:
        """Return how many bytes wait, about."""
        return self._batch_bytes + self._closed_bytes + self.bodies.size

    @property
    def count(self) -> int:
        """Return how many small messages wait, about."""
        return len(self._batch) + len(self._closed) * BATCH_MESSAGES

    @property
    def drained(self) -> bool:
        """Tell whether no small message waits."""
        return not self._batch and not self._closed

    def push(self, message: Message, size: int) -> None:
        """Queue a small message of about `size` bytes."""
        batch = self._batch
        batch.append(message)
        self._batch_bytes += size
        if self._batch_bytes > FRAME_BYTES or len(batch) >= BATCH_MESSAGES:
            self._close_batch()

    def push_behind(self, token: str, message: Message, size: int) -> None:
        """Queue a small message that must not overtake a body of its token."""
        if token in self.bodies:
            self.bodies.follow(token, message, size)
        else:
            self.push(message, size)

    def push_body(self, token: str, body: Large) -> None:
        """Queue a body; it does not overtake what was queued before it."""
        self.bodies.add(token, body, self._open_number())

    def push_front(self, message: Message) -> None:
        """Queue a message before all others."""
        self._closed.appendleft(([message], 0))
        self._taken -= 1  # so that the batches behind it keep their numbers

    def take(self) -> list[Message]:
        """Return the messages of the next frame: one batch, and one part of one body."""
        if self._closed:
            frame, size = self._closed.popleft()
            self._closed_bytes -= size
        else:
            frame, self._batch, self._batch_bytes = self._batch, [], 0
        self._taken += 1
        if self.bodies:
            self._take_part(frame)
        return frame

    def _take_part(self, frame: list[Message]) -> None:
        turn = self.bodies.turn(self._taken)
        if turn is None:
            return
        frame += turn.messages
        for message, size in turn.followers:
            self.push(message, size)
        if turn.next is not None:
            self.bodies.park(turn.next, self._open_number())

    def _open_number(self) -> int:
        """Return the number that the batch which is open now will have when it leaves."""
        return self._taken + len(self._closed) + 1

    def drop_bodies(self) -> None:
        """Forget what travels in parts, and what waits behind it."""
        self.bodies = BodyTurns()

    def clear(self) -> None:
        """Forget everything."""
        self.drop_bodies()
        self._batch = []
        self._batch_bytes = 0
        self._closed.clear()
        self._closed_bytes = 0

    def _close_batch(self) -> None:
        self._closed.append((self._batch, self._batch_bytes))
        self._closed_bytes += self._batch_bytes
        self._batch = []
        self._batch_bytes = 0
