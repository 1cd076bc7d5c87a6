"""A `Channel` that keeps what a function told, for looking at it in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.authoring.context import JsonValue, PieceValue, Progress


class RecordingChannel:
    """Takes everything at once; `order` says by which door each piece came."""

    def __init__(self) -> None:
        self.cancelled = False
        self.pieces: list[PieceValue] = []
        self.order: list[str] = []
        self.told: list[Progress] = []
        self.events: list[tuple[str, JsonValue]] = []

    async def push(self, piece: PieceValue) -> None:
        """Take a piece on the loop."""
        self.order.append("awaited")
        self.pieces.append(piece)

    def push_blocking(self, piece: PieceValue) -> None:
        """Take a piece from a thread."""
        self.order.append("blocking")
        self.pieces.append(piece)

    def progress(self, progress: Progress) -> None:
        """Take how far the function is."""
        self.told.append(progress)

    def emit(self, name: str, data: JsonValue) -> None:
        """Take an event."""
        self.events.append((name, data))
