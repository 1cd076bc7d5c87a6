"""Signing, headers, bodies and tries of webhooks."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Failure
from shared.task import Outcome
from shared.task_state import TERMINAL, TaskStatus
from shared.webhooks import (
    LONGEST_BACKOFF_S,
    MAX_HEADERS,
    MAX_RETRY_AFTER_S,
    WebhookPolicy,
    body_of,
    failure_text,
    host_of,
    next_try,
    outcome_word,
    parse_headers,
    parse_secrets,
    refused_header,
    refused_headers,
    request_headers,
    retry_after_s,
    sign,
    verify,
)

# The example of the Standard Webhooks reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
STAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

OTHER = "whsec_" + base64.b64encode(b"another key of 24 bytes!").decode()
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def signed(signature: str = SIGNATURE, *, stamp: str = str(STAMP)) -> dict[str, str]:
    """Return the headers of a webhook that was received."""
    return {"webhook-id": MESSAGE, "webhook-timestamp": stamp, "webhook-signature": signature}


def checked(
    headers: dict[str, str], *, secret: str = SECRET, body: bytes = BODY, at: float = STAMP
) -> str | None:
    """Verify at a moment."""
    return verify(parse_secrets(secret), headers, body, now_s=at)


def test_a_signature_is_the_one_of_the_standard() -> None:
    """The published example comes out."""
    assert sign(parse_secrets(SECRET), webhook_id=MESSAGE, timestamp=STAMP, body=BODY) == SIGNATURE
    assert checked(signed()) is None


def test_two_secrets_give_two_signatures_and_either_receiver_is_content() -> None:
    """Rotation: old and new receivers verify the same webhook."""
    both = sign(parse_secrets(f"{OTHER} {SECRET}"), webhook_id=MESSAGE, timestamp=STAMP, body=BODY)
    assert both.split(" ")[1] == SIGNATURE
    assert checked(signed(both)) is None
    assert checked(signed(both), secret=OTHER) is None
    assert checked(signed(), secret=f"{OTHER} {SECRET}") is None


@pytest.mark.parametrize(
    ("headers", "body", "at", "problem"),
    [
        (signed(), BODY + b" ", STAMP, "No signature matches"),
        (signed(stamp=str(STAMP + 1)), BODY, STAMP, "No signature matches"),
        (signed(SIGNATURE.replace("v1,", "v2,")), BODY, STAMP, "No signature matches"),
        (signed("v1,ä"), BODY, STAMP, "No signature matches"),
        (signed(), BODY, STAMP + 301, "too far from now"),
        (signed(), BODY, STAMP - 301, "too far from now"),
        (signed(stamp="1e9"), BODY, STAMP, "Invalid webhook-timestamp"),
        (signed(stamp="9" * 400), BODY, STAMP, "Invalid webhook-timestamp"),
        ({}, BODY, STAMP, "Missing"),
    ],
)
def test_what_is_not_genuine_is_refused(
    headers: dict[str, str], body: bytes, at: float, problem: str
) -> None:
    """A changed body, id or time, an old webhook and nonsense all fail, with a reason."""
    answer = checked(headers, body=body, at=at)
    assert answer is not None
    assert problem in answer


@pytest.mark.parametrize("at", [STAMP - 300, STAMP + 300])
def test_the_tolerance_holds_either_way(at: float) -> None:
    """Clocks differ; five minutes are allowed."""
    assert checked(signed(), at=at) is None


def test_no_secret_verifies_nothing() -> None:
    """A receiver without a key trusts nobody."""
    assert verify((), signed(), BODY, now_s=STAMP) == "No signature matches"


@given(st.binary(max_size=300), st.integers(0, 2**40), st.text("abcdef0123456789-", min_size=1))
def test_what_is_signed_verifies(body: bytes, stamp: int, webhook_id: str) -> None:
    """Signing and verifying are inverse, and one flipped bit is noticed."""
    keys = parse_secrets(SECRET)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign(keys, webhook_id=webhook_id, timestamp=stamp, body=body),
    }
    assert verify(keys, headers, body, now_s=stamp) is None
    assert verify(keys, headers, body + b"\0", now_s=stamp) is not None


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("whsec_not!base64", "is not base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "has 5 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "has 65 bytes"),
        (f"{SECRET} whsec_", "has 0 bytes"),
    ],
)
def test_a_bad_secret_is_refused_and_not_shown(secret: str, problem: str) -> None:
    """The text says what is expected and keeps the secret."""
    with pytest.raises(ValueError, match=problem) as caught:
        parse_secrets(secret)
    assert secret.split("_")[-1] not in str(caught.value) or not secret.split("_")[-1]


def test_no_secret_is_no_signature() -> None:
    """An empty setting switches signing off."""
    assert parse_secrets("  ") == ()


def headers_of(
    policy: WebhookPolicy | None = None, own: tuple[tuple[str, str], ...] = ()
) -> dict[str, str]:
    """Return the headers of a try, names in lower case."""
    pairs = request_headers(
        policy or WebhookPolicy(),
        webhook_id="msg_1",
        timestamp=STAMP,
        body=BODY,
        outcome="succeeded",
        correlation_id="c-1",
        own=own,
    )
    names = [name.lower() for name, _ in pairs]
    assert len(names) == len(set(names))
    return dict(zip(names, (value for _, value in pairs), strict=True))


def test_every_webhook_says_what_it_is() -> None:
    """Without any setting: defaults, id, time, outcome, correlation id, and no signature."""
    assert headers_of() == {
        "content-type": "application/json",
        "user-agent": "cabrank",
        "x-correlation-id": "c-1",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(STAMP),
        "x-cabrank-outcome": "succeeded",
    }


def test_the_last_header_wins_whatever_its_case() -> None:
    """Defaults, then WEBHOOK_HEADERS, then the task's own."""
    policy = WebhookPolicy(headers=(("User-Agent", "ours"), ("X-Both", "settings"), ("X-Set", "1")))
    found = headers_of(
        policy, own=(("x-both", "task"), ("Content-Type", "text/x"), ("x-correlation-id", "own"))
    )
    assert found["user-agent"] == "ours"
    assert (found["x-both"], found["x-set"]) == ("task", "1")
    assert (found["content-type"], found["x-correlation-id"]) == ("text/x", "own")


def test_nobody_else_speaks_for_us() -> None:
    """Id, time, signature and outcome cannot be set by a caller, not even without a secret."""
    forged = (("Webhook-Id", "x"), ("webhook-timestamp", "1"), ("X-Cabrank-Outcome", "x"))
    found = headers_of(own=(*forged, ("webhook-signature", "v1,x")))
    assert found == headers_of()
    found = headers_of(WebhookPolicy(secrets=parse_secrets(SECRET)), own=forged)
    assert verify(parse_secrets(SECRET), found, BODY, now_s=STAMP) is None


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("Host", "x", "belongs to the connection"),
        ("content-length", "1", "belongs to the connection"),
        ("Transfer-Encoding", "chunked", "belongs to the connection"),
        ("CONNECTION", "close", "belongs to the connection"),
        ("te", "x", "belongs to the connection"),
        ("Expect", "100-continue", "belongs to the connection"),
        ("x y", "1", "is not the name of a header"),
        ("", "1", "is not the name of a header"),
        ("x:", "1", "is not the name of a header"),
        ("x\r\n", "1", "is not the name of a header"),
        ("x", "a\r\nb: c", "control character"),
        ("x", "a\0", "control character"),
        ("x", "v" * 9000, "longer than"),
    ],
)
def test_headers_that_would_break_the_request_are_refused(
    name: str, value: str, problem: str
) -> None:
    """They are named at acceptance and, whatever slipped in, never sent."""
    why = refused_header(name, value)
    assert why is not None
    assert problem in why
    assert value[:20] not in why or len(value) < 3
    assert headers_of(own=((name, value),)) == headers_of()


def test_common_headers_are_fine() -> None:
    """Authorization, tabs and non-ASCII values are the caller's business."""
    assert (
        refused_headers([("Authorization", "Bearer x"), ("x-note", "a\tb ä"), ("x_y", "")]) is None
    )


def test_the_number_of_headers_is_bounded() -> None:
    """One more than the limit is one too many."""
    many = [(f"x-{n}", "1") for n in range(MAX_HEADERS)]
    assert refused_headers(many) is None
    assert refused_headers([*many, ("x", "1")]) is not None


def test_configured_headers_are_a_json_object() -> None:
    """WEBHOOK_HEADERS keeps its order; nothing is nothing."""
    assert parse_headers('{"b": "1", "a": "2"}') == (("b", "1"), ("a", "2"))
    assert parse_headers("") == ()


@pytest.mark.parametrize(
    "text", ["[]", "x", '{"a": 1}', '{"a": null}', '"a"', '{"Host": "x"}', '{"a": "b\\n"}']
)
def test_configured_headers_that_cannot_be_sent_are_refused(text: str) -> None:
    """A bad setting stops the start."""
    with pytest.raises(ValueError, match=r"expected a JSON object of strings|header"):
        parse_headers(text)


def body(outcome: Outcome, *, envelope: bool = False, metadata: bytes | None = None) -> bytes:
    """Return the body of a task's end."""
    return body_of(outcome, task_id="t1", envelope=envelope, metadata=metadata, finished_at=NOW)


FAILED = Outcome(TaskStatus.FAILED, failure=Failure("function_error", 'a "bad" thing'), attempts=3)


def test_a_success_is_its_bare_result() -> None:
    """Andera's form; the bytes are the function's, and nothing is null."""
    assert body(Outcome(TaskStatus.SUCCEEDED, result=b'{"a":  1}')) == b'{"a":  1}'
    assert body(Outcome(TaskStatus.SUCCEEDED)) == b"null"


def test_an_envelope_says_everything() -> None:
    """The result is spliced in as it is."""
    outcome = Outcome(TaskStatus.SUCCEEDED, result=b'{"a":  1}', attempts=1)
    sent = body(outcome, envelope=True, metadata=b'{"m":1}')
    assert b'"result":{"a":  1}' in sent
    assert json.loads(sent) == {
        "task_id": "t1",
        "status": "succeeded",
        "result": {"a": 1},
        "metadata": {"m": 1},
        "attempt": 1,
        "finished_at": "2030-01-01T00:00:00.000Z",
    }


@pytest.mark.parametrize("envelope", [True, False])
def test_a_failure_is_always_an_envelope(envelope: bool) -> None:
    """A failure never looks like a result."""
    assert json.loads(body(FAILED, envelope=envelope)) == {
        "task_id": "t1",
        "status": "failed",
        "error": 'a "bad" thing',
        "code": "function_error",
        "metadata": None,
        "attempt": 3,
        "finished_at": "2030-01-01T00:00:00.000Z",
    }


def test_every_end_has_one_of_four_words() -> None:
    """The contract's words, for each terminal status."""
    words = {status: outcome_word(status) for status in TERMINAL}
    assert set(words.values()) == {"succeeded", "failed", "cancelled", "timed_out"}
    assert words[TaskStatus.EXPIRED] == "timed_out"
    assert words[TaskStatus.QUARANTINED] == "failed"


class Fixed:
    """A chance that always gives the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        """Return the value."""
        return self.value


@pytest.mark.parametrize(
    ("tries", "chance", "wait_s"),
    [(1, 0.0, 0.5), (1, 1.0, 1.0), (2, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.5, 3.0)],
)
def test_waits_double_from_the_delay_with_jitter(tries: int, chance: float, wait_s: float) -> None:
    """Half of delay x 2^(tries-1) is fixed, half is drawn."""
    decision = next_try(
        WebhookPolicy(), tries=tries, status=503, retry_after_s=None, chance=Fixed(chance)
    )
    assert decision.again
    assert decision.wait_s == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("tries", "status", "again"),
    [
        (1, None, True),
        (3, 500, True),
        (4, 500, False),
        (5, 500, False),
        (1, 404, True),
        (1, 302, True),
        (1, 410, False),
    ],
)
def test_three_tries_follow_the_first_unless_the_receiver_is_gone(
    tries: int, status: int | None, again: bool
) -> None:
    """Whatever the status, four tries in all; 410 stops at once."""
    decision = next_try(
        WebhookPolicy(), tries=tries, status=status, retry_after_s=None, chance=Fixed(0)
    )
    assert decision.again is again
    assert again or decision.reason


@pytest.mark.parametrize(("asked", "wait_s"), [(0.1, 0.5), (20.0, 20.0), (1e9, MAX_RETRY_AFTER_S)])
def test_retry_after_is_honoured_within_reason(asked: float, wait_s: float) -> None:
    """It lengthens a wait, never shortens it, and never parks a webhook for days."""
    decision = next_try(WebhookPolicy(), tries=1, status=429, retry_after_s=asked, chance=Fixed(0))
    assert decision.wait_s == wait_s


@given(st.integers(1, 10_000), st.floats(0, 1e6), st.integers(0, 2**32))
def test_waits_are_bounded(tries: int, delay_s: float, seed: int) -> None:
    """However many tries and however long the delay, the wait stays finite and in its bounds."""
    policy = WebhookPolicy(max_retries=10_000, retry_delay_s=delay_s)
    decision = next_try(policy, tries=tries, status=None, retry_after_s=None, chance=Random(seed))
    assert 0 <= decision.wait_s <= max(LONGEST_BACKOFF_S, delay_s)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Tue, 01 Jan 2030 00:00:30 GMT", 30.0),
        ("Mon, 31 Dec 2029 23:00:00 GMT", 0.0),
        ("Tue, 01 Jan 2035 00:00:00 GMT", MAX_RETRY_AFTER_S),
        ("9" * 60, MAX_RETRY_AFTER_S),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 5000, None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """Nonsense asks for nothing."""
    assert retry_after_s(value, now=NOW) == seconds


@given(st.text(max_size=80))
def test_no_header_breaks_the_reader(value: str) -> None:
    """A receiver may send anything."""
    found = retry_after_s(value, now=NOW)
    assert found is None or 0 <= found <= MAX_RETRY_AFTER_S


def test_the_message_of_a_webhook_that_was_given_up_is_anderas() -> None:
    """Word for word."""
    assert (
        failure_text(4, "Request failed with status code 503")
        == "Failed to send webhook after 4 attempts: Request failed with status code 503"
    )
    assert failure_text(1, "x") == "Failed to send webhook after 1 attempt: x"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://A.test/x", "a.test:80"),
        ("https://u:p@a.test/x", "a.test:443"),
        ("http://a.test:8080", "a.test:8080"),
        ("http://[::1]:9/", "::1:9"),
        ("http://a.test:99999/", "http://a.test:99999/"),
        ("nonsense", "nonsense"),
    ],
)
def test_tries_are_counted_by_host_and_port(url: str, host: str) -> None:
    """Spelling and credentials make no difference; nonsense is its own host."""
    assert host_of(url) == host


def test_a_date_far_in_the_past_asks_for_nothing() -> None:
    """No negative wait comes out."""
    past = (NOW - timedelta(days=9)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert retry_after_s(past, now=NOW) == 0.0
