"""The cursor of `GET /tasks`: where a page ended, opaque to callers.

It names the place of the last task shown, not an offset: tasks that arrive or are forgotten between
two pages neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii

from shared.errors import CallerError, failure

_PREFIX = "tasks:"
_MAX_DIGITS = 18  # what a 64-bit integer always holds


def encode_cursor(place: int) -> str:
    """Return the cursor of the page that begins below a place."""
    return base64.urlsafe_b64encode(f"{_PREFIX}{place}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """Return the place that a cursor names; None for the first page.

    Raises:
        CallerError: it is no cursor of ours.
    """
    if cursor is None:
        return None
    try:
        text = base64.b64decode(
            cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        ).decode()
    except (binascii.Error, ValueError):
        raise _invalid() from None
    digits = text.removeprefix(_PREFIX)
    if digits == text or not (digits.isascii() and digits.isdigit()) or len(digits) > _MAX_DIGITS:
        raise _invalid()
    return int(digits)


def _invalid() -> CallerError:
    message = "Invalid cursor: send the `next` of the page before"
    return CallerError(message, failure=failure("invalid_field", message))
