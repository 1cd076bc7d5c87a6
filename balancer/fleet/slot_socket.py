"""The slot socket of a plain HTTP worker (contract §7): its slots, told each second and on every change."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from shared.slot_report import SlotReport

MAX_MESSAGE = 1024 * 1024  # bytes of one message
OPEN_S = 3.0
CLOSE_S = 0.2  # nothing is lost by an end without a handshake
REOPEN_S = 1.0  # pause before a socket that closed is opened again; /health must do meanwhile

Hear = Callable[[dict[str, object]], None]


class SlotSocket:
    """Follows the slot socket of one worker for as long as the worker is dialled.

    Args:
        url: `ws://host:port/`; asked each time, because the port may change.
        lb_key: LB_AUTH_KEY.
        hear: takes each message.
        heartbeat_s: seconds between two pings.
        timeout_s: seconds after a ping until a socket on which nothing came is closed.
    """

    def __init__(
        self,
        url: Callable[[], str],
        lb_key: str,
        hear: Hear,
        *,
        heartbeat_s: float,
        timeout_s: float,
    ) -> None:
        self._url = url
        self._lb_key = lb_key
        self._hear = hear
        self._heartbeat_s = heartbeat_s
        self._timeout_s = timeout_s

    async def run(self) -> None:
        """Listen until cancelled; a worker that has no such socket is asked again and again."""
        while True:
            with suppress(OSError, TimeoutError, WebSocketException, ValueError):
                await self._listen()
            await asyncio.sleep(REOPEN_S)

    async def _listen(self) -> None:
        async with connect(
            self._url(), subprotocols=[Subprotocol(self._lb_key)], proxy=None, compression=None,
            max_size=MAX_MESSAGE, ping_interval=None, open_timeout=OPEN_S, close_timeout=CLOSE_S,
        ) as socket:  # fmt: skip
            pinging = asyncio.ensure_future(self._ping(socket))
            try:
                while True:
                    # Not wait_for: until Python 3.12 it swallows a cancellation that comes together
                    # with a message, and this loop would never end.
                    async with asyncio.timeout(self._heartbeat_s + self._timeout_s):
                        message = await socket.recv()
                    self._take(message)
            finally:
                pinging.cancel()

    async def _ping(self, socket: ClientConnection) -> None:
        with suppress(WebSocketException):
            while True:
                await socket.send("ping")
                await asyncio.sleep(self._heartbeat_s)

    def _take(self, message: str | bytes) -> None:
        """Pass one message on; what is malformed is ignored."""
        try:
            told: object = json.loads(message)
        except (ValueError, RecursionError):
            return
        if isinstance(told, dict):
            self._hear(cast("dict[str, object]", told))


def report_of_view(known: dict[str, object]) -> SlotReport | None:
    """Return the report in a status message or /health answer, or None when there is none."""
    raw = known.get("slots")
    if not isinstance(raw, dict):
        return None
    slots = cast("dict[str, object]", raw)

    def number(name: str) -> int:
        value = slots.get(name)
        if isinstance(value, float):
            return max(0, int(value)) if math.isfinite(value) else 0
        return max(0, value) if isinstance(value, int) else 0

    return SlotReport(
        available=number("available"), limit=number("limit"), used=number("used"), queue=number("queue"),
        maintenance=known.get("status") == "maintenance",
    )  # fmt: skip
