"""Bytes that callers, and what calls itself so, send: requests in all their forms, then damaged ones."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from tests.fuzz.both_shells import AUTH_KEY, BODY_LIMIT, LB_KEY

_FUNCTIONS = ("hello", "echo", "fail", "nothing", "stream", "stream_fail", "nope")
_LINES = (
    *["POST /task HTTP/1.1"] * 12,
    "POST /task HTTP/1.0", "GET /task HTTP/1.1", "GET /nope HTTP/1.1", "POST /task?a=b HTTP/1.1",
    "POST http://x/task HTTP/1.1", "OPTIONS * HTTP/1.1", "post /task HTTP/1.1", "POST  /task HTTP/1.1",
    "POST /task HTTP/1.2", "POST /task", "",
)  # fmt: skip
_HEADERS = (
    "Connection: close", "Connection: keep-alive", "connection: Close", "Connection: upgrade", "Upgrade: h2c",
    "Connection: keep-alive, close", "Keep-Alive: timeout=5", "Proxy-Connection: close", "TE: trailers",
    "Expect: 100-continue", "Expect: x", "Accept: application/msgpack", "Accept: */*", "Accept: text/event-stream",
    "Content-Type: application/json", "Content-Type: application/msgpack", "Content-Type: text/plain",
    "Content-Encoding: gzip", "Content-Encoding: identity", "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity", "Content-Length: 5", "Content-Length: 0", "Content-Length: 3000",
    "Host: y", "x-correlation-id: mine", "X-Correlation-ID: a b\xff", "x-correlation-id: " + "c" * 200,
    "x-correlation-id:", f"x-lb-auth: {LB_KEY}", "x-lb-auth: wrong", "x-wr-auth: w", "Prefer: respond-async",
    "Idempotency-Key: k", "Last-Event-ID: 3", "Cookie: a=b", "cookie: c=d", "X-Empty:", "X: \t y \t ",
    "Sec-WebSocket-Key1: x", "User-Agent: fuzz", "X-Long: " + "x" * 3000, "Bad Name: x", "no colon", ": x",
    " folded: x", "A:b", "Content-length : 3",
)  # fmt: skip
_TOKENS = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b"\xff", b"\x80", b"POST /task HTTP/1.1\r\n",
    b"HTTP/1.1", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"{", b"}", b'"',
    b"Connection: close\r\n", b"Host: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01",
)  # fmt: skip

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    given: dict[str, object] = {"function": draw(st.sampled_from(_FUNCTIONS)), "contract": 1}
    if draw(st.booleans()):
        given["input"] = draw(
            st.sampled_from([{}, {"name": "Ada"}, {"text": "x"}, {"pieces": ["a", "b"]}, {"k": 1}, [], None])
        )
    if draw(st.integers(0, 2)) == 0:
        given["mode"] = draw(st.sampled_from(["sync", "stream", "webhook", "x", None]))
        given["webhook"] = {"url": "http://h.test/x"}
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(["function", "contract", "input", "priority", "timeout_s", "metadata"]))
        given[name] = draw(_values)
    raw = json.dumps(given).encode()
    return raw.ljust(draw(st.sampled_from([0, 0, 0, 300, BODY_LIMIT, BODY_LIMIT + 1])))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request, mostly in order, with any headers."""
    body = draw(st.one_of(_bodies(), _bodies(), _bodies(), st.binary(max_size=30)))
    key = draw(st.sampled_from([AUTH_KEY] * 6 + [f"Bearer {AUTH_KEY}", "wrong", LB_KEY, ""]))
    lines = [draw(st.sampled_from(_LINES)), "Host: x", f"Authorization: {key}"]
    lines += draw(st.lists(st.sampled_from(_HEADERS), max_size=3))
    if draw(st.integers(0, 9)) == 0:
        del lines[draw(st.integers(1, 2))]
    chunked = any("chunked" in line for line in lines) and draw(st.booleans())
    if not chunked and draw(st.integers(0, 9)):
        short = draw(st.sampled_from([0] * 12 + [-1, 1, 5]))
        lines.append(f"Content-Length: {max(0, len(body) - short)}")
    elif chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@st.composite
def _damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    raw = draw(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        size = draw(st.sampled_from([0, 0, 1, 2, 20]))
        new = draw(st.one_of(st.just(b""), st.sampled_from(_TOKENS), st.binary(max_size=3)))
        raw = raw[:at] + new + raw[at + size :]
    return raw


def streams() -> st.SearchStrategy[bytes]:
    """Everything that one connection sends: a few requests, whole or damaged, or no HTTP at all."""
    several = st.lists(requests(), min_size=1, max_size=4).map(b"".join)
    return st.one_of(several, _damaged(several), _damaged(requests()), st.binary(max_size=60))


@st.composite
def segments(draw: st.DrawFn) -> list[bytes]:
    """The same, in the segments in which it may arrive."""
    raw = draw(streams())
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    edges = [0, *cuts, len(raw)]
    return [raw[start:end] for start, end in zip(edges, edges[1:], strict=False) if end > start]
