"""The request headers that mean something at the edge, whatever shell read them."""

from __future__ import annotations

from shared.edge.limits import MAX_KEY, MAX_PREFER_WAIT_S
from shared.errors import Failure, failure
from shared.task import Mode

_SYNC, _WEBHOOK = Mode.SYNC, Mode.WEBHOOK


class EdgeHeaders:
    """Headers of one request; None where it had none.

    Attributes:
        authorization: `Authorization`.
        lb_auth: `x-lb-auth`.
        wr_auth: `x-wr-auth`: key for plain HTTP workers. Secret.
        content_type: `Content-Type`.
        accept: `Accept`.
        correlation_id: `x-correlation-id`, sanitised, or one that the shell made.
        last_event_id: `Last-Event-ID`.
        prefer: `Prefer`.
        idempotency_key: `Idempotency-Key`.
    """

    __slots__ = (
        "accept",
        "authorization",
        "content_type",
        "correlation_id",
        "idempotency_key",
        "last_event_id",
        "lb_auth",
        "prefer",
        "wr_auth",
    )

    def __init__(
        self,
        *,
        authorization: str | None = None,
        lb_auth: str | None = None,
        wr_auth: str | None = None,
        content_type: str | None = None,
        accept: str | None = None,
        correlation_id: str | None = None,
        last_event_id: str | None = None,
        prefer: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        self.authorization = authorization
        self.lb_auth = lb_auth
        self.wr_auth = wr_auth
        self.content_type = content_type
        self.accept = accept
        self.correlation_id = correlation_id
        self.last_event_id = last_event_id
        self.prefer = prefer
        self.idempotency_key = idempotency_key

    @property
    def resume_after(self) -> int:
        """Return the number of the last event that an SSE reader has; 0 when it has none."""
        text = self.last_event_id or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def is_durable(mode: Mode, headers: EdgeHeaders) -> bool:
    """Tell whether a task is to be committed to the store before anything else (DESIGN §5)."""
    if headers.idempotency_key is not None:
        return True
    if headers.prefer is None or mode is not _SYNC:
        return mode is _WEBHOOK
    return async_wait_s(headers.prefer) is not None


def async_wait_s(prefer: str | None) -> float | None:
    """Return the seconds that a caller of `Prefer: respond-async, wait=N` waits before it has its 202.

    None when it does not want one (RFC 7240). A wait that is no number of seconds is ignored, as the
    RFC has it for preferences that are not understood; one that is too long is cut.
    """
    if prefer is None:
        return None
    given: dict[str, str] = {}
    for item in prefer.replace(";", ",").split(","):
        name, _, value = item.partition("=")
        given.setdefault(name.strip().lower(), value.strip().strip('"'))  # the first one counts
    if "respond-async" not in given:
        return None
    wait = given.get("wait", "")
    known = wait.isascii() and wait.isdigit() and len(wait) < 10
    return min(float(wait), MAX_PREFER_WAIT_S) if known else 0.0


def key_of(headers: EdgeHeaders) -> str | Failure | None:
    """Return the caller's `Idempotency-Key`, or what is wrong with it; None without one."""
    key = headers.idempotency_key
    if key is None:
        return None
    if 0 < len(key) <= MAX_KEY and all("!" <= char <= "~" for char in key):
        return key
    text = f"Invalid Idempotency-Key: must be 1 to {MAX_KEY} visible ASCII characters"
    return failure("invalid_field", text)


def sanitised_correlation_id(given: str | None, limit: int) -> str:
    """Return the visible ASCII characters of a caller's correlation id, cut to a limit.

    It is repeated in headers and log lines, so nothing in it may end a line or colour a terminal.
    """
    if not given:
        return ""
    if given.isascii() and given.isprintable() and " " not in given:
        return given[:limit]
    return "".join(char for char in given if "!" <= char <= "~")[:limit]
