"""One request of the client and its answer, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, however often it is repeated.

    Attributes:
        method: GET, POST or DELETE.
        path: from the root, query included.
        body: JSON text.
        headers: beside those of every request.
        limit_s: from the first try to the end of the answer; of a stream, to its beginning.
        silence_s: longest wait for the next bytes of a stream; None when the answer is none.
        may_be_taken: a 503 of the store does not prove that nothing happened: a durable task.
        once: it has an Idempotency-Key: made again, it is the same task.
    """

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    limit_s: float | None = None
    silence_s: float | None = None
    may_be_taken: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a status below 300."""

    status: int
    headers: Mapping[str, str]
    body: bytes
