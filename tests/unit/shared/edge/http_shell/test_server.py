"""The application and its server: errors in the contract's body, correlation ids, limits."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from shared.edge.http_shell import (
    EdgeRunner,
    edge_application,
    edge_headers,
    listen,
    read_body,
    refuse,
)
from shared.errors import Failure
from shared.ids import SequentialIds
from tests.unit.shared.edge.http_shell.wire import Answered, exchange


async def _echo(request: web.Request) -> web.StreamResponse:
    body = await read_body(request, 1000)
    if isinstance(body, Failure):
        return refuse(request, body)
    return web.Response(body=body)


async def _crash(request: web.Request) -> web.StreamResponse:
    raise RuntimeError("secret-of-the-server")


async def _crash_late(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"begun")
    raise RuntimeError("secret-of-the-server")


async def _moved(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/docs")


async def _correlation(request: web.Request) -> web.StreamResponse:
    return web.Response(text=edge_headers(request).correlation_id or "")


async def _timeout(request: web.Request) -> web.StreamResponse:
    raise TimeoutError


@pytest.fixture
async def server() -> AsyncIterator[EdgeRunner]:
    """A server with a few routes that behave and misbehave."""
    app = edge_application(SequentialIds("made"))
    app.router.add_post("/echo", _echo)
    app.router.add_get("/echo", _echo)
    app.router.add_get("/crash", _crash)
    app.router.add_get("/crash-late", _crash_late)
    app.router.add_get("/moved", _moved)
    app.router.add_get("/id", _correlation)
    app.router.add_get("/timeout", _timeout)
    runner = await listen(app, SequentialIds("bad"), host="127.0.0.1", port=0)
    yield runner
    await runner.cleanup()


def _get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _told(answered: Answered) -> tuple[int, str, str]:
    told = json.loads(answered.body)
    assert told["success"] is False
    assert answered.headers["content-type"] == "application/json; charset=utf-8"
    assert answered.headers["x-correlation-id"]
    return answered.status, told["code"], told["error"]


@pytest.mark.parametrize(
    ("sent", "status", "code", "text"),
    [
        (_get("/nope"), 404, "not_found", "Not found"),
        (_get("/crash", method="POST"), 405, "method_not_allowed", "Method not allowed"),
        (_get("/crash"), 500, "internal_error", "Internal error"),
        (_get("/timeout"), 500, "internal_error", "Internal error"),
        (
            _get("/echo", "Content-Length: 1001", method="POST") + b"x" * 1001,
            413, "body_too_large", "Request body too large",
        ),
        (
            _get("/echo", "Transfer-Encoding: chunked", method="POST") + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
            413, "body_too_large", "Request body too large",
        ),
        (_get("/echo", "Expect: miracles", method="POST"), 417, "bad_request", "Expectation Failed"),
        (b"nonsense\r\n\r\n", 400, "bad_request", "Bad request"),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400, "bad_request", "Bad request"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "bad_request", "Bad request"),
        (_get("/echo", "Content-Length: -5", method="POST"), 400, "bad_request", "Bad request"),
        (
            _get("/echo", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST"),
            400, "bad_request", "Bad request",
        ),
        (_get("/x", "A: " + "a" * 9000), 431, "headers_too_large", "Request header fields too large"),
        (_get("/" + "x" * 9000), 431, "headers_too_large", "Request header fields too large"),
        (
            _get("/x", *(f"A{n}: 1" for n in range(150))),
            431, "headers_too_large", "Request header fields too large",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)  # fmt: skip
async def test_every_error_has_the_contract_s_body(
    server: EdgeRunner, sent: bytes, status: int, code: str, text: str
) -> None:
    """Unknown paths, wrong methods, large bodies, crashes and malformed HTTP: one shape, with an id."""
    answered = await exchange(server.port, sent)
    assert _told(answered) == (status, code, text)
    assert b"secret-of-the-server" not in answered.raw
    assert b"Traceback" not in answered.raw


async def test_a_405_names_the_methods(server: EdgeRunner) -> None:
    """HTTP asks for Allow."""
    answered = await exchange(server.port, _get("/echo", method="DELETE"))
    assert answered.headers["allow"] == "GET, HEAD, POST"


async def test_a_chunked_body_that_is_broken_is_a_bad_request(server: EdgeRunner) -> None:
    """The transfer encoding is checked while the body is read."""
    sent = _get("/echo", "Transfer-Encoding: chunked", method="POST") + b"zz\r\nbroken\r\n0\r\n\r\n"
    assert _told(await exchange(server.port, sent))[:2] == (400, "bad_request")


async def test_a_body_that_is_not_encoded_as_it_says_is_a_bad_request(server: EdgeRunner) -> None:
    """The head was good, the handler runs, and then the content encoding is not."""
    sent = (
        _get("/echo", "Content-Encoding: gzip", "Content-Length: 9", method="POST") + b"not gzip!"
    )
    assert _told(await exchange(server.port, sent)) == (
        400,
        "bad_request",
        "Malformed request body",
    )


async def test_a_body_that_does_not_come_in_time_is_given_up(
    server: EdgeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow sender holds no handler for ever."""
    monkeypatch.setattr("shared.edge.limits.BODY_TIMEOUT_S", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(_get("/echo", "Content-Length: 10", method="POST") + b"half")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_body_in_pieces_is_read_whole(server: EdgeRunner) -> None:
    """However it arrives."""
    sent = (
        _get("/echo", "Transfer-Encoding: chunked", method="POST")
        + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    answered = await exchange(server.port, sent)
    assert (answered.status, answered.body) == (200, b"abcde")


@pytest.mark.parametrize("size", [2_000, 500_000])
async def test_a_compressed_body_is_bounded_by_what_it_unfolds_to(
    server: EdgeRunner, size: int
) -> None:
    """A small body that unfolds to a large one is refused; reading stops at the limit."""
    packed = gzip.compress(b"x" * size)
    assert len(packed) < 1000
    head = _get("/echo", "Content-Encoding: gzip", f"Content-Length: {len(packed)}", method="POST")
    assert _told(await exchange(server.port, head + packed))[:2] == (413, "body_too_large")


async def test_a_compressed_body_within_the_limit_is_read(server: EdgeRunner) -> None:
    """As Andera's servers do."""
    packed = gzip.compress(b"x" * 900)
    head = _get("/echo", "Content-Encoding: gzip", f"Content-Length: {len(packed)}", method="POST")
    assert (await exchange(server.port, head + packed)).body == b"x" * 900


async def test_a_crash_in_mid_answer_breaks_the_transfer(server: EdgeRunner) -> None:
    """Too late for a status: the client must not take what came for the whole."""
    answered = await exchange(server.port, _get("/crash-late"))
    assert (answered.status, answered.complete) == (200, False)
    assert b"secret-of-the-server" not in answered.raw


async def test_a_redirect_stays_one(server: EdgeRunner) -> None:
    """aiohttp's exceptions below 400 are no errors; they carry the id too."""
    answered = await exchange(server.port, _get("/moved"))
    assert (answered.status, answered.headers["location"]) == (302, "/docs")
    assert answered.headers["x-correlation-id"] == "made-1"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abc-1", "abc-1"),
        ("a b\t;c", "ab;c"),
        ("x" * 300, "x" * 128),
        ("", "made-1"),
        ("é", "made-1"),
    ],
)
async def test_the_caller_s_correlation_id_is_kept(
    server: EdgeRunner, sent: str, kept: str
) -> None:
    """Cleaned and cut, or made when nothing of it is left; the handler sees the same."""
    answered = await exchange(server.port, _get("/id", f"X-Correlation-Id: {sent}"))
    assert answered.headers["x-correlation-id"] == kept
    assert answered.body.decode() == kept


async def test_each_request_without_an_id_gets_its_own(server: EdgeRunner) -> None:
    """On errors as well; even what could not be read has one."""
    made = [
        (await exchange(server.port, _get(path))).headers["x-correlation-id"]
        for path in ("/id", "/no", "/id")
    ]
    assert made == ["made-1", "made-2", "made-3"]
    assert (await exchange(server.port, b"nonsense\r\n\r\n")).headers["x-correlation-id"] == "bad-1"


async def test_answers_are_never_compressed(server: EdgeRunner) -> None:
    """A client that would take gzip gets plain bytes."""
    answered = await exchange(server.port, _get("/nope", "Accept-Encoding: gzip, br"))
    assert "content-encoding" not in answered.headers


async def test_a_client_that_leaves_in_mid_body_is_no_error(
    server: EdgeRunner, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler ends and nothing is logged; a crash would be."""
    with capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(_get("/echo", "Content-Length: 100", method="POST") + b"half")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await exchange(server.port, _get("/id"))).status == 200
        assert lines == []
        await exchange(server.port, _get("/crash"))
    assert [line["event"] for line in lines] == ["GET /crash failed"]
    assert caplog.records == []


async def test_a_port_that_is_taken_is_told(server: EdgeRunner) -> None:
    """Nothing is left half open."""
    with pytest.raises(OSError, match=str(server.port)):
        await listen(
            edge_application(SequentialIds("x")),
            SequentialIds("x"),
            host="127.0.0.1",
            port=server.port,
        )


@pytest.mark.parametrize("path", ["/echo", "/nope"])
async def test_a_malformed_body_is_no_error_of_ours(
    server: EdgeRunner, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody fills the log with tracebacks by what he sends, whether it is read or thrown away."""
    head = _get(path, "Content-Encoding: gzip", "Content-Length: 9", method="POST")
    answered = await exchange(
        server.port, head.replace(b"Connection: close\r\n", b"") + b"not gzip!"
    )
    assert answered.status in (400, 404)
    assert caplog.records == []
