"""Bytes that callers, and what calls itself so, send: requests in all their forms, then damaged ones.

Everything is drawn from a `random.Random`: a seeded one for many inputs in little time, hypothesis's own
for inputs that shrink.
"""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random

BODY_LIMIT = 2000
_FUNCTIONS = ("hello", "hello", "echo", "fail", "nothing", "stream", "stream_fail", "nope")
_INPUTS: tuple[object, ...] = (
    {}, {"name": "Ada"}, {"name": "x"}, {"text": "x"}, {"pieces": ["a", "b"]}, {"k": 1}, [], None, 1,
)  # fmt: skip
_MEMBERS = (
    "function",
    "contract",
    "input",
    "priority",
    "mode",
    "timeout_s",
    "max_attempts",
    "metadata",
    "retry_on",
    "delay_s",
    "run_at",
)
_VALUES: tuple[object, ...] = (
    None, True, 0, 1, -1, 1.0, 2, 1e300, "", "x", "sync", "stream", "webhook", [], [1], {}, {"a": "\ud800"}, "ü",
)  # fmt: skip
_PLAIN_HEADERS = (
    "Connection: close", "Connection: keep-alive", "connection: Close", "Keep-Alive: timeout=5", "TE: trailers",
    "Accept: application/msgpack", "Accept: */*", "Accept: text/event-stream", "Content-Type: application/json",
    "Content-Type: application/msgpack", "Content-Type: text/plain", "x-correlation-id: mine",
    "X-Correlation-ID: a b\xff", "x-correlation-id: " + "c" * 200, "x-correlation-id:", "x-lb-auth: wrong",
    "x-wr-auth: w", "Prefer: respond-async", "Idempotency-Key: k", "Last-Event-ID: 3",
    "Cookie: a=b", "cookie: c=d", "X-Empty:", "X: \t y \t ", "User-Agent: fuzz", "A:b",
)  # fmt: skip
_ODD_HEADERS = (
    "Connection: upgrade", "Upgrade: h2c", "Connection: keep-alive, close", "Proxy-Connection: close",
    "Expect: 100-continue", "Expect: x", "Content-Encoding: gzip", "Content-Encoding: identity",
    "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Content-Length: 5", "Content-Length: 0",
    "Content-Length: 3000", "Host: y", "Sec-WebSocket-Key1: x", "X-Long: " + "x" * 9000, "Bad Name: x",
    "no colon", ": x", " folded: x", "Content-length : 3", "X: a\x00b", "X: a\rb", "X: a\nb",
)  # fmt: skip
_ODD_LINES = (
    "POST /task HTTP/1.0", "GET /task HTTP/1.1", "GET /nope HTTP/1.1", "POST /task?a=b HTTP/1.1",
    "POST http://x/task HTTP/1.1", "OPTIONS * HTTP/1.1", "post /task HTTP/1.1", "POST  /task HTTP/1.1",
    "POST /task HTTP/1.2", "POST /task", "", "POST /task HTTP/1.1 ", "POST /task/ HTTP/1.1",
)  # fmt: skip
_TOKENS = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b"\xff", b"\x80", b"POST /task HTTP/1.1\r\n",
    b"HTTP/1.1", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"{", b"}", b'"',
    b"Connection: close\r\n", b"Host: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b"",
)  # fmt: skip


class Sender:
    """Makes what one connection sends.

    Args:
        chance: decides everything.
        key: opens the door, most of the time.
        hooks: ask for webhooks too, of a server that sends none.
    """

    def __init__(self, chance: Random, key: str, *, hooks: bool) -> None:
        self._chance = chance
        self._key = key
        self._hooks = hooks

    def segments(self) -> list[bytes]:
        """Return the segments in which it arrives: a few requests, some damaged, now and then no HTTP."""
        if self._one_in(50):
            raw = self._chance.randbytes(self._chance.randrange(1, 60))
        else:
            raw = b"".join(self._request() for _ in range(self._chance.randrange(1, 5)))
        if self._one_in(4):
            raw = self._damaged(raw)
        cuts = sorted(
            self._chance.randrange(len(raw) + 1) for _ in range(self._chance.randrange(5))
        )
        edges = [0, *cuts, len(raw)]
        return [raw[start:end] for start, end in pairwise(edges) if end > start]

    def _request(self) -> bytes:
        body, plain = self._body(), not self._one_in(5)
        key = self._key
        if self._one_in(6):
            key = self._chance.choice([f"Bearer {key}", "wrong", "", "\xfc"])
        lines = ["POST /task HTTP/1.1", "Host: x", f"Authorization: {key}"]
        lines += self._some(_PLAIN_HEADERS)
        length = len(body)
        if not plain:
            lines += self._some(_ODD_HEADERS)
            length = max(0, length + self._chance.choice([0, 0, 0, -1, 1, 7]))
            if self._one_in(4):
                lines[0] = self._chance.choice(_ODD_LINES)
            if self._one_in(9):
                del lines[self._chance.randrange(1, 3)]
        if plain or not self._one_in(5):
            lines.append(f"Content-Length: {length}")
        elif self._one_in(2):
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def _body(self) -> bytes:
        if self._one_in(20):
            return self._chance.randbytes(self._chance.randrange(30))
        given: dict[str, object] = {"function": self._chance.choice(_FUNCTIONS), "contract": 1}
        if self._one_in(2):
            given["input"] = self._chance.choice(_INPUTS)
        if self._one_in(4):
            given["mode"] = self._chance.choice(["sync", "stream", "webhook"])
            given["webhook"] = {"url": "http://h.test/x"} if self._hooks else {}
        if self._one_in(4):
            given[self._chance.choice(_MEMBERS)] = self._chance.choice(_VALUES)
        raw = json.dumps(given, ensure_ascii=self._one_in(2)).encode("utf-8", "surrogatepass")
        return raw.ljust(BODY_LIMIT + self._chance.randrange(2)) if self._one_in(20) else raw

    def _damaged(self, raw: bytes) -> bytes:
        for _ in range(self._chance.randrange(1, 4)):
            at = self._chance.randrange(len(raw) + 1)
            size = self._chance.choice([0, 0, 1, 2, 20])
            token = self._chance.choice(_TOKENS) or self._chance.randbytes(2)
            raw = raw[:at] + token + raw[at + size :]
        return raw

    def _some(self, these: tuple[str, ...]) -> list[str]:
        chosen = [self._chance.choice(these) for _ in range(self._chance.choice([0, 0, 1, 2]))]
        return chosen if self._one_in(9) else list(dict.fromkeys(chosen))

    def _one_in(self, count: int) -> bool:
        return self._chance.randrange(count) == 0
