"""Checks of the single fields of `POST /task` (contract §2): a value, or the failure that says why not.

Nothing is coerced: `"40"` and `true` are no numbers; `1.0` is the integer 1.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import msgspec

from shared.edge.keys import without_bearer
from shared.edge.limits import (
    MAX_ATTEMPTS,
    MAX_CODES,
    MAX_CONTRACT,
    MAX_METADATA,
    MAX_MOMENT,
    MAX_NAME,
    MAX_SECONDS,
    MAX_WEBHOOK_HEADER_BYTES,
    MAX_WEBHOOK_HEADERS,
    MAX_WEBHOOK_URL,
)
from shared.errors import CODES, Failure, failure
from shared.task import PRIORITY_FIRST, PRIORITY_LAST, Mode, WebhookTarget
from shared.webhooks import REFUSED_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping

_INVALID_PRIORITY = failure("invalid_priority")
_INVALID_FUNCTION = failure("invalid_function")
_INVALID_CONTRACT = failure("invalid_contract")
_INVALID_INPUT = failure("invalid_input")
_INVALID_MODE = failure("invalid_mode")
_INVALID_WEBHOOK = failure("invalid_webhook")

_MODES = {"sync": Mode.SYNC, "stream": Mode.STREAM, "webhook": Mode.WEBHOOK}

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110 §5.6.2
_NOT_IN_VALUE = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f]"
)  # control characters but tab: header injection
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f]")


def priority_of(value: object) -> float | Failure:
    """Check `priority`; 1 when it was omitted. Null is a value, and not a number."""
    if value is msgspec.UNSET:
        return PRIORITY_FIRST
    if type(value) is not int and type(value) is not float:
        return _INVALID_PRIORITY
    return value if PRIORITY_FIRST <= value <= PRIORITY_LAST else _INVALID_PRIORITY


def function_of(value: object) -> str | Failure:
    """Check `function`."""
    if type(value) is str and 0 < len(value) <= MAX_NAME:
        return value
    return _INVALID_FUNCTION


def contract_of(value: object) -> int | Failure:
    """Check `contract`."""
    number = _integer(value)
    if number is None or abs(number) > MAX_CONTRACT:
        return _INVALID_CONTRACT
    return number


def input_of(raw: msgspec.Raw) -> bytes | Failure:
    """Check `input`, which stays JSON text; omitted or null is `{}`."""
    text = bytes(raw)
    if text[:1] == b"{":
        return text
    return b"{}" if not text or text == b"null" else _INVALID_INPUT


def mode_of(value: object) -> Mode | Failure:
    """Check `mode`."""
    mode = _MODES.get(value) if type(value) is str else None
    return _INVALID_MODE if mode is None else mode


def seconds_of(name: str, value: object) -> float | Failure | None:
    """Check a duration: `timeout_s` or `deadline_s`; omitted or null is None."""
    if value is None:
        return None
    if (type(value) is int or type(value) is float) and 0 < value <= MAX_SECONDS:
        return float(value)
    expected = f"must be a number of seconds greater than 0 and at most {MAX_SECONDS:.0f}"
    return failure("invalid_field", f"Invalid {name}: {expected}")


def delay_of(value: object) -> float | Failure | None:
    """Check `delay_s`; omitted or null is None."""
    if value is None:
        return None
    if (type(value) is int or type(value) is float) and 0 <= value <= MAX_SECONDS:
        return float(value)
    expected = f"must be a number of seconds from 0 to {MAX_SECONDS:.0f}"
    return failure("invalid_field", f"Invalid delay_s: {expected}")


def run_at_of(value: object) -> datetime | Failure | None:
    """Check `run_at`; omitted or null is None. A moment that has passed is as good as now."""
    if value is None:
        return None
    if type(value) is str and len(value) <= MAX_MOMENT:
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    expected = "must be an ISO 8601 time with its offset from UTC, such as 2030-01-31T12:00:00Z"
    return failure("invalid_field", f"Invalid run_at: {expected}")


def codes_of(value: object) -> tuple[str, ...] | Failure | None:
    """Check `retry_on`; omitted or null is None."""
    if value is None:
        return None
    given = cast("list[object]", value) if isinstance(value, list) else []
    codes = tuple(code for code in given if isinstance(code, str) and code in CODES)
    if codes and len(codes) == len(given) <= MAX_CODES:
        return codes
    text = f"must be a list of 1 to {MAX_CODES} codes, such as function_error and timeout"
    return failure("invalid_field", f"Invalid retry_on: {text}")


def attempts_of(value: object) -> int | Failure | None:
    """Check `max_attempts`; omitted or null is None."""
    if value is None:
        return None
    number = _integer(value)
    if number is None or not 1 <= number <= MAX_ATTEMPTS:
        expected = f"must be an integer between 1 and {MAX_ATTEMPTS}"
        return failure("invalid_field", f"Invalid max_attempts: {expected}")
    return number


def metadata_of(raw: msgspec.Raw) -> bytes | Failure | None:
    """Check `metadata`, which stays JSON text; omitted or null is None."""
    text = bytes(raw)
    if not text or text == b"null":
        return None
    if text[:1] != b"{" or len(text) > MAX_METADATA:
        expected = f"must be an object of at most {MAX_METADATA} bytes of JSON"
        return failure("invalid_field", f"Invalid metadata: {expected}")
    return text


def worker_key_of(given: str | None) -> str | Failure | None:
    """Check `x-wr-auth`: a header may hold bytes that are no text, which nothing can carry on."""
    if given is None:
        return None
    try:
        given.encode()
    except UnicodeEncodeError:
        return failure("invalid_field", "Invalid x-wr-auth: must be UTF-8")
    return without_bearer(given)


def webhook_of(raw: msgspec.Raw) -> WebhookTarget | Failure:
    """Check `webhook` of a task whose mode is webhook."""
    try:
        value: object = msgspec.json.decode(raw or b"null")
    except msgspec.MsgspecError:  # numbers that no float holds
        return _INVALID_WEBHOOK
    if not isinstance(value, dict):
        return _INVALID_WEBHOOK
    webhook = cast("dict[str, object]", value)
    url = webhook.get("url")
    if not isinstance(url, str) or not _is_url(url):
        return _INVALID_WEBHOOK
    headers = webhook_headers(webhook.get("headers"))
    if isinstance(headers, Failure):
        return headers
    envelope = webhook.get("envelope")
    if envelope is not None and not isinstance(envelope, bool):
        return failure("invalid_webhook", "Invalid webhook.envelope: must be true or false")
    return WebhookTarget(url=url, headers=headers, envelope=bool(envelope))


def webhook_headers(
    value: object, name: str = "webhook.headers"
) -> tuple[tuple[str, str], ...] | Failure:
    """Check headers that a webhook is to carry; null is none.

    Args:
        value: what was given: a mapping of texts.
        name: what to call it when it is wrong (WEBHOOK_HEADERS is checked here too).
    """
    if value is None:
        return ()
    if not isinstance(value, dict):
        return _refused_headers(name, "must be an object of strings")
    given = cast("Mapping[object, object]", value)
    if len(given) > MAX_WEBHOOK_HEADERS:
        return _refused_headers(name, f"at most {MAX_WEBHOOK_HEADERS} are allowed")
    pairs: list[tuple[str, str]] = []
    size = 0
    for header, text in given.items():
        if not isinstance(header, str) or not isinstance(text, str):
            return _refused_headers(name, "must be an object of strings")
        problem = _header_problem(header, text)
        if problem is not None:
            return _refused_headers(name, problem)
        size += len(header) + len(text.encode())
        pairs.append((header, text))
    if size > MAX_WEBHOOK_HEADER_BYTES:
        return _refused_headers(name, f"at most {MAX_WEBHOOK_HEADER_BYTES} bytes are allowed")
    return tuple(pairs)


def _header_problem(header: str, text: str) -> str | None:
    if not _HEADER_NAME.fullmatch(header):
        return f"{header[:64]!a} is no header name"
    if header.lower() in REFUSED_HEADERS:
        return f"'{header}' may not be set"
    if _NOT_IN_VALUE.search(text):
        return f"the value of '{header[:64]}' has control characters"
    return None


def _refused_headers(name: str, problem: str) -> Failure:
    return failure("invalid_webhook", f"Invalid {name}: {problem}")


def _is_url(text: str) -> bool:
    if len(text) > MAX_WEBHOOK_URL or _NOT_IN_URL.search(text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises when it is no port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _integer(value: object) -> int | None:
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() else None
