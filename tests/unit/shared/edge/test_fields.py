"""Checks of single fields: webhook targets (URLs, headers, injection), moments, codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from shared.edge.fields import (
    codes_of,
    delay_of,
    run_at_of,
    webhook_headers,
    webhook_of,
    worker_key_of,
)
from shared.errors import CODES, Failure
from shared.task import WebhookTarget
from shared.webhooks import REFUSED_HEADERS

URL = "https://example.org/hook?x=1"


def _read(**webhook: object) -> WebhookTarget | Failure:
    return webhook_of(msgspec.Raw(json.dumps(webhook).encode()))


@pytest.mark.parametrize(
    "url",
    [
        None, 5, "", "example.org", "ftp://example.org", "file:///etc/passwd", "http://", "http:///x",
        "https://:80/", "http://example.org:99999/", "http://example.org:x/", "http://exa mple.org/",
        "http://example.org/\r\nx: y", "http://example.org/\x00", "javascript:alert(1)", "http://[::1",
        "http://" + "a" * 2048,
    ],
)  # fmt: skip
def test_what_is_no_http_url_is_refused(url: object) -> None:
    """Only absolute http and https URLs can be delivered to."""
    found = _read(url=url)
    assert isinstance(found, Failure)
    assert (found.code, found.message) == (
        "invalid_webhook", "Missing or invalid webhook.url for mode webhook",
    )  # fmt: skip


@pytest.mark.parametrize(
    "url", [URL, "HTTP://Example.org", "http://127.0.0.1:9/x", "http://[::1]:9/"]
)
def test_http_urls_are_taken_as_they_are(url: str) -> None:
    """Whether an address may be reached is the guard's to say, not the codec's."""
    assert _read(url=url) == WebhookTarget(url=url)


@pytest.mark.parametrize("name", sorted(REFUSED_HEADERS))
def test_hop_by_hop_headers_host_and_content_length_are_refused(name: str) -> None:
    """Nobody sets, in any spelling, what belongs to the connection."""
    found = _read(url=URL, headers={"x-fine": "1", name.title(): "1"})
    assert isinstance(found, Failure)
    assert found.message == f"Invalid webhook.headers: '{name.title()}' may not be set"


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ("x", "must be an object of strings"),
        ([], "must be an object of strings"),
        ({"a": 5}, "must be an object of strings"),
        ({"a": None}, "must be an object of strings"),
        ({"": "x"}, "'' is no header name"),
        ({"a b": "x"}, "'a b' is no header name"),
        ({"a:": "x"}, "'a:' is no header name"),
        ({"a\r\nb": "x"}, r"'a\r\nb' is no header name"),
        ({"é": "x"}, r"'\xe9' is no header name"),
        ({"a": "x\r\nb: y"}, "the value of 'a' has control characters"),
        ({"a": "x\ny"}, "the value of 'a' has control characters"),
        ({"a": "x\x00"}, "the value of 'a' has control characters"),
        ({f"h{n}": "x" for n in range(65)}, "at most 64 are allowed"),
        ({"a": "x" * 8192}, "at most 8192 bytes are allowed"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(headers: object, problem: str) -> None:
    """The text names the header and what is wrong; nothing can be injected."""
    found = _read(url=URL, headers=headers)
    assert isinstance(found, Failure)
    assert (found.code, found.message) == ("invalid_webhook", f"Invalid webhook.headers: {problem}")


def test_headers_keep_their_order_and_spelling() -> None:
    """The caller's headers are sent as he wrote them; tabs are allowed in values."""
    found = _read(url=URL, headers={"X-B": "2", "x-a": "ä\t1", "Authorization": "Bearer t"})
    assert isinstance(found, WebhookTarget)
    assert found.headers == (("X-B", "2"), ("x-a", "ä\t1"), ("Authorization", "Bearer t"))


@pytest.mark.parametrize(("envelope", "expected"), [(None, False), (True, True), (False, False)])
def test_envelope_is_a_boolean(envelope: object, expected: bool) -> None:
    """Null is left out."""
    assert _read(url=URL, headers=None, envelope=envelope) == WebhookTarget(
        url=URL, envelope=expected
    )


@pytest.mark.parametrize("envelope", [0, 1, "true", []])
def test_envelope_is_not_coerced(envelope: object) -> None:
    """1 is not true."""
    found = _read(url=URL, envelope=envelope)
    assert isinstance(found, Failure)
    assert found.message == "Invalid webhook.envelope: must be true or false"


def test_a_number_that_no_float_holds_is_refused_not_raised() -> None:
    """A webhook that cannot be decoded is an invalid one."""
    assert isinstance(webhook_of(msgspec.Raw(b'{"url":1e999}')), Failure)


def test_the_headers_of_a_setting_are_named_as_the_setting() -> None:
    """WEBHOOK_HEADERS is checked by the same rule and complains under its own name."""
    found = webhook_headers({"Host": "x"}, "WEBHOOK_HEADERS")
    assert isinstance(found, Failure)
    assert found.message == "Invalid WEBHOOK_HEADERS: 'Host' may not be set"


@pytest.mark.parametrize(
    ("given", "key"), [(None, None), ("k", "k"), ("Bearer k", "k"), ("schlüssel", "schlüssel")]
)
def test_a_worker_key_is_taken_without_its_prefix(given: str | None, key: str | None) -> None:
    """Or there is none."""
    assert worker_key_of(given) == key


def test_a_worker_key_that_is_no_text_is_refused() -> None:
    """Bytes that are no UTF-8 come as lone surrogates; neither the store nor a header takes them."""
    found = worker_key_of("\udcff")
    assert isinstance(found, Failure)
    assert (found.code, found.message) == ("invalid_field", "Invalid x-wr-auth: must be UTF-8")


NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "delay_s"), [(None, None), (0, 0.0), (1.5, 1.5), (31_536_000, 31_536_000.0)]
)
def test_a_delay_is_a_number_of_seconds(value: object, delay_s: float | None) -> None:
    """Up to a year; none at all is allowed."""
    assert delay_of(value) == delay_s


@pytest.mark.parametrize("value", [-0.1, 31_536_000.1, True, "1", [], {}])
def test_what_is_no_delay_is_refused(value: object) -> None:
    """Nothing is coerced."""
    refused = delay_of(value)
    assert isinstance(refused, Failure)
    assert refused.code == "invalid_field"


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-31T12:00:00Z",
        "2030-01-31T12:00:00+00:00",
        "2030-01-31T13:30:00.000+01:30",
        "20300131T120000Z",
    ],
)
def test_a_moment_is_iso_8601_with_its_offset(text: str) -> None:
    """However it is written, it is kept in UTC."""
    assert run_at_of(text) == NOON
    assert run_at_of(None) is None


@pytest.mark.parametrize(
    "value",
    [
        "", "tomorrow", "2030-01-31", "2030-01-31T12:00:00", "2030-02-30T12:00:00Z", 1893456000, True, [],
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2030-01-31T12:00:00Z" + " " * 60,
    ],
)  # fmt: skip
def test_what_is_no_moment_is_refused(value: object) -> None:
    """A time without an offset is nobody's in particular."""
    refused = run_at_of(value)
    assert isinstance(refused, Failure)
    assert refused.code == "invalid_field"


def test_codes_are_those_of_the_table() -> None:
    """One to thirty-two of them, as they came."""
    assert codes_of(None) is None
    assert codes_of(["timeout", "function_error"]) == ("timeout", "function_error")
    assert codes_of(list(CODES)[:32]) == tuple(CODES)[:32]


@pytest.mark.parametrize(
    "value", [[], ["timeout"] * 33, ["nope"], [1], [["timeout"]], "timeout", {"timeout": 1}, True]
)
def test_what_is_no_list_of_codes_is_refused(value: object) -> None:
    """A code that nobody knows is a typing error, and would never be retried."""
    refused = codes_of(value)
    assert isinstance(refused, Failure)
    assert refused.code == "invalid_field"
