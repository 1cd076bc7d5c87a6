"""How the end of an attempt is put on a link: in one message, before its parts, or in place of them."""

from __future__ import annotations

from shared.errors import failure
from shared.protocol.limits import MAX_BODY, MAX_TEXT, PART_BYTES
from shared.protocol.messages import Finished


def ending(message: Finished, result: bytes | None, body_size: int = 0) -> Finished:
    """Return the message as it is sent: with its result or the size of it, and texts that fit.

    Nearly every message is so already, and is then sent as it is.
    """
    details = message.details
    fits = details is None or len(details) <= PART_BYTES
    if (
        fits
        and message.result is result
        and message.body_size == body_size
        and len(message.message) <= MAX_TEXT
    ):
        return message
    return Finished(
        message.token, message.task_id, message.status, result, message.code,
        message.message[:MAX_TEXT],
        details if fits else None,  # the message names the first problem
        message.error_type, message.duration, body_size,
    )  # fmt: skip


def too_large(message: Finished, size: int) -> Finished:
    """Return the failure of an attempt whose result no link carries."""
    problem = f"Result of {size} bytes is larger than the {MAX_BODY} bytes that a link carries"
    return Finished(
        message.token, message.task_id, "failed", None, "result_too_large", problem,
        duration=message.duration,
    )  # fmt: skip


def unwanted(message: Finished) -> Finished:
    """Return the ending without the result, for a balancer that cancelled the attempt meanwhile."""
    if message.body_size == 0:
        return message
    return Finished(
        message.token, message.task_id, "cancelled", None, "cancelled", failure("cancelled").message,
        duration=message.duration,
    )  # fmt: skip
