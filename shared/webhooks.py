"""Webhooks on the wire: what is sent, how it is signed and verified, when it is tried again.

Contract §2 "Webhook delivery", on Standard Webhooks 1.0 (standardwebhooks.com): the signature is
`v1,` and base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`. Several secrets give
several signatures, so that a receiver can change over in its own time. Pure: time and chance are
arguments. Where a webhook may go at all is `shared/url_guard.py`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from shared.retry import Backoff, RetryDecision
from shared.task_state import TaskStatus

if TYPE_CHECKING:
    from shared.clock import Chance
    from shared.task import Outcome

Headers = tuple[tuple[str, str], ...]

SECRET_PREFIX = "whsec_"
MIN_SECRET_BYTES = 24  # Standard Webhooks: 192 to 512 bits
MAX_SECRET_BYTES = 64
SIGNATURE_TOLERANCE_S = 300.0  # of a receiver, against replays; the reference libraries' value
MAX_RETRY_AFTER_S = 3600.0  # a receiver may ask for patience, not park us for days
LONGEST_BACKOFF_S = 300.0
MAX_HEADERS = 64
MAX_HEADER_BYTES = 8192  # what common servers take as one header line

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
OUTCOME = "x-cabrank-outcome"

_OURS = frozenset({ID, TIMESTAMP, SIGNATURE, OUTCOME})  # nobody else's word may stand there

# The connection's own headers (RFC 9110 §7.6.1) and those that the body and the URL decide.
REFUSED_HEADERS = frozenset(
    {
        "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "proxy-connection", "te", "trailer", "trailers", "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPolicy:
    """How webhooks are tried.

    Attributes:
        timeout_s: limit of one try, connection and answer included (WEBHOOK_TIMEOUT).
        max_retries: tries after the first (WEBHOOK_MAX_RETRIES).
        retry_delay_s: the first wait, about; it doubles (WEBHOOK_RETRY_DELAY).
        headers: sent with every webhook unless the task says otherwise (WEBHOOK_HEADERS).
        secrets: keys of the signatures; none, no signature (WEBHOOK_SECRET).
    """

    timeout_s: float = 5.0
    max_retries: int = 3
    retry_delay_s: float = 1.0
    headers: Headers = ()
    secrets: tuple[bytes, ...] = field(default=(), repr=False)


# ---- signatures


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Return the keys of WEBHOOK_SECRET: `whsec_` + base64, several separated by spaces.

    Raises:
        ValueError: one of them is none; the text says what is expected and never shows it.
    """
    return tuple(_secret(word) for word in text.split())


def _secret(word: str) -> bytes:
    expected = (
        f"expected {SECRET_PREFIX} and base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"
    )
    if not word.startswith(SECRET_PREFIX):
        raise ValueError(f"a webhook secret does not begin with {SECRET_PREFIX}: {expected}")
    try:
        key = base64.b64decode(word.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a webhook secret is not base64: {expected}") from None
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(f"a webhook secret has {len(key)} bytes: {expected}")
    return key


def sign(secrets: Iterable[bytes], *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header: one signature a secret, separated by spaces."""
    return " ".join(_signature(key, webhook_id, str(timestamp), body) for key in secrets)


def verify(
    secrets: Iterable[bytes],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float,
    tolerance_s: float = SIGNATURE_TOLERANCE_S,
) -> str | None:
    """Check a webhook that was received.

    Args:
        secrets: keys that are good; one that fits is enough.
        headers: of the request, names in lower case.
        body: its exact bytes.
        now_s: seconds since 1970.
        tolerance_s: how far the timestamp may be off, either way.

    Returns:
        What is wrong, or None when the webhook is genuine.
    """
    webhook_id, timestamp = headers.get(ID), headers.get(TIMESTAMP)
    given = headers.get(SIGNATURE)
    if not webhook_id or not timestamp or not given:
        return "Missing webhook-id, webhook-timestamp or webhook-signature"
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
        return "Invalid webhook-timestamp"
    if abs(now_s - int(timestamp)) > tolerance_s:
        return "webhook-timestamp is too far from now"
    offered = [word.encode() for word in given.split(" ")]
    for key in secrets:
        expected = _signature(key, webhook_id, timestamp, body).encode()
        if any([hmac.compare_digest(expected, word) for word in offered]):  # noqa: C419 no early end
            return None
    return "No signature matches"


def _signature(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


# ---- headers


def refused_header(name: str, value: str) -> str | None:
    """Tell why a header of a caller cannot be sent; None when it can."""
    if not _TOKEN.fullmatch(name):
        return f"{name!r} is not the name of a header"
    if name.lower() in REFUSED_HEADERS:
        return f"header {name} belongs to the connection and cannot be set"
    if _CONTROL.search(value):
        return f"header {name} has a control character in its value"
    if len(name) + len(value.encode("utf-8", "replace")) > MAX_HEADER_BYTES:
        return f"header {name} is longer than {MAX_HEADER_BYTES} bytes"
    return None


def refused_headers(headers: Sequence[tuple[str, str]]) -> str | None:
    """Tell why some headers cannot be sent; None when all can."""
    if len(headers) > MAX_HEADERS:
        return f"more than {MAX_HEADERS} headers"
    return next((why for name, value in headers if (why := refused_header(name, value))), None)


def parse_headers(text: str) -> Headers:
    """Return the headers of WEBHOOK_HEADERS, a JSON object of strings.

    Raises:
        ValueError: it is none, or a header in it cannot be sent; values are never shown.
    """
    try:
        value: object = json.loads(text) if text.strip() else {}
    except ValueError:
        raise ValueError("expected a JSON object of strings") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object of strings")
    pairs = tuple(cast("dict[str, object]", value).items())
    if not all(isinstance(each, str) for _, each in pairs):
        raise ValueError("expected a JSON object of strings")
    headers = cast("Headers", pairs)
    if why := refused_headers(headers):
        raise ValueError(why)
    return headers


def request_headers(
    policy: WebhookPolicy,
    *,
    webhook_id: str,
    timestamp: int,
    body: bytes,
    outcome: str,
    correlation_id: str = "",
    own: Iterable[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """Return the headers of one try: defaults, WEBHOOK_HEADERS, the task's own, last wins; then ours.

    Args:
        policy: WEBHOOK_HEADERS and the secrets.
        webhook_id: the same for every try.
        timestamp: whole seconds since 1970, of this try.
        body: the exact bytes that are sent.
        outcome: succeeded, failed, cancelled or timed_out.
        correlation_id: of the task.
        own: `webhook.headers` of the task.
    """
    chosen: dict[str, tuple[str, str]] = {"content-type": ("content-type", "application/json")}
    chosen["user-agent"] = ("user-agent", "cabrank")
    if correlation_id:
        chosen["x-correlation-id"] = ("x-correlation-id", correlation_id)
    for name, value in (*policy.headers, *own):
        key = name.lower()
        if key not in _OURS and refused_header(name, value) is None:
            chosen[key] = (name, value)
    ours = [(ID, webhook_id), (TIMESTAMP, str(timestamp)), (OUTCOME, outcome)]
    if policy.secrets:
        signature = sign(policy.secrets, webhook_id=webhook_id, timestamp=timestamp, body=body)
        ours.append((SIGNATURE, signature))
    return [*chosen.values(), *ours]


# ---- bodies


def outcome_word(status: TaskStatus) -> str:
    """Return how a webhook names the end of a task: succeeded, failed, cancelled or timed_out."""
    if status is TaskStatus.QUARANTINED:
        return "failed"
    return "timed_out" if status is TaskStatus.EXPIRED else status.value


def body_of(
    outcome: Outcome,
    *,
    task_id: str,
    envelope: bool,
    metadata: bytes | None,
    finished_at: datetime,
) -> bytes:
    """Return the body: the bare result of a success, or the envelope when it is asked for or it failed.

    A function that returned nothing sends `null`.
    """
    result = b"null" if outcome.result is None else outcome.result
    if outcome.ok and not envelope:
        return result
    fields = [("task_id", _json(task_id)), ("status", _json(outcome_word(outcome.status)))]
    if outcome.ok:
        fields.append(("result", result))
    else:
        failure = outcome.failure
        fields.append(("error", _json(failure.message if failure else outcome.status.value)))
        fields.append(("code", _json(failure.code if failure else "internal_error")))
    fields.append(("metadata", b"null" if metadata is None else metadata))
    fields.append(("attempt", _json(outcome.attempts)))
    fields.append(("finished_at", _json(_iso(finished_at))))
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in fields) + b"}"


def _json(value: str | int) -> bytes:
    return json.dumps(value).encode()


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---- tries


def next_try(
    policy: WebhookPolicy,
    *,
    tries: int,
    status: int | None,
    retry_after_s: float | None,
    chance: Chance,
) -> RetryDecision:
    """Decide whether a failed try is followed by another.

    Args:
        policy: how many and how far apart.
        tries: tries made, this one included.
        status: HTTP status of the answer; None when there was none.
        retry_after_s: what the receiver asked for.
        chance: jitter: half of the wait is fixed, so that a receiver that restarts gets its time.
    """
    if status == 410:
        return RetryDecision(again=False, reason="the receiver is gone (410)")
    if tries > policy.max_retries:
        return RetryDecision(again=False, reason=f"{tries} tries made")
    backoff = Backoff(
        base_s=policy.retry_delay_s, cap_s=max(policy.retry_delay_s, LONGEST_BACKOFF_S)
    )
    wait_s = backoff.bound_s(tries) * (0.5 + 0.5 * chance.random())
    asked_s = min(retry_after_s or 0.0, MAX_RETRY_AFTER_S)
    return RetryDecision(again=True, wait_s=max(wait_s, asked_s))


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Return the wait that a `Retry-After` header asks for: seconds or an HTTP date; None for nonsense."""
    if value is None or len(value) > 64:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return min(max((at - now).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def failure_text(tries: int, error: str) -> str:
    """Return the message of a webhook that was given up, as Andera words it."""
    return f"Failed to send webhook after {tries} attempt{'' if tries == 1 else 's'}: {error}"


def host_of(url: str) -> str:
    """Return the host and port of a URL: what tries are counted by; the URL itself when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return url
    return f"{parts.hostname}:{port}" if parts.hostname else url
