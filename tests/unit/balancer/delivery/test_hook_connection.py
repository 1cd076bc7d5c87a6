"""Kept connections to receivers, byte by byte: what is an answer, and when a connection is used again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from balancer.delivery import lean_sender
from balancer.delivery.hook_connection import HookConnection
from balancer.delivery.lean_sender import LeanSender
from shared.client.webhook_sender import Delivered, Failed, Sent, WebhookSender
from shared.system import SystemClock
from shared.url_guard import UrlRules
from shared.webhooks import WebhookPolicy
from tests.fakes.manual_clock import ManualClock
from tests.fakes.waiting import wait_until

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
RULES = UrlRules(allow_private=True)


class Script:
    """A server that answers the n-th request of each connection by a script, then hangs up.

    Attributes:
        answers: of each connection, in order; the last list stays.
        connections: that were made.
        requests: that came.
    """

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = [[OK] * 100]
        self.connections = 0
        self.requests = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        answers = self.answers[min(self.connections, len(self.answers) - 1)]
        self.connections += 1
        self.open += 1
        try:
            for answer in answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                self.requests += 1
                for piece in answer.split(b"|"):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


Post = Callable[[], Awaitable[Sent]]


@asynccontextmanager
async def running(
    script: Script, tls: Path | None = None, host: str = "127.0.0.1"
) -> AsyncGenerator[Post]:
    """Run a scripted server; yield what sends a webhook to it."""
    serving = trusting = None
    if tls is not None:
        serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        serving.load_cert_chain(tls)
        trusting = ssl.create_default_context(cafile=str(tls))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    policy, clock = WebhookPolicy(timeout_s=5), ManualClock()
    other = WebhookSender(policy, RULES, clock=clock)

    def lookup(name: str, _: int) -> list[str]:
        assert name == host
        return ["127.0.0.1"]

    sender = LeanSender(policy, RULES, clock=clock, other=other, tls=trusting, lookup=lookup)
    url = f"{'http' if tls is None else 'https'}://{host}:{port}/"

    async def post() -> Sent:
        return await sender.send(webhook_id="m", url=url, body=b"{}", outcome="succeeded")

    try:
        yield post
    finally:
        await sender.close()
        await other.close()
        server.close()
        await wait_until(lambda: script.open == 0, "every connection is closed")


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n|HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTT|P/1.1 20|0 OK\r\nContent-Le|ngth: 2\r\n\r|\nok",
    ],
    ids=["length", "chunked", "no content", "interim", "in pieces"],
)
async def test_a_connection_is_used_again_after_a_whole_answer(answer: bytes) -> None:
    """However the receiver delimits it."""
    script = Script()
    script.answers = [[answer] * 5]
    async with running(script) as post:
        for _ in range(4):
            assert isinstance(await post(), Delivered)
    assert (script.connections, script.requests) == (1, 4)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nbroken off",
    ],
    ids=["close", "old", "no length", "short"],
)
async def test_a_connection_that_ends_with_its_answer_is_not_used_again(answer: bytes) -> None:
    """The status was the answer all the same."""
    script = Script()
    script.answers = [[answer]]
    async with running(script) as post:
        assert [await post() for _ in range(2)] == [Delivered(200)] * 2
    assert (script.connections, script.requests) == (2, 2)


async def test_a_connection_that_was_closed_while_idle_costs_no_try() -> None:
    """The request goes out once more over a new one: it was heard by nobody."""
    script = Script()
    script.answers = [[OK, b""], [OK] * 9]
    async with running(script) as post:
        assert await post() == Delivered(200)
        assert await post() == Delivered(200)
    assert (script.connections, script.requests) == (2, 3)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2"], ids=["nothing", "half a line"])
async def test_a_new_connection_that_is_closed_is_a_failure(answer: bytes) -> None:
    """Half an answer is none, and a receiver that hangs up is not asked in a circle."""
    script = Script()
    script.answers = [[answer]]
    async with running(script) as post:
        assert await post() == Failed("socket hang up")
    assert script.requests == 1


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, b"\0" * 100],
    ids=["another protocol", "endless head", "noise"],
)
async def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    """Nothing that a receiver says keeps it or breaks the sender."""
    script = Script()
    script.answers = [[answer]]
    async with running(script) as post:
        assert await post() == Failed("socket hang up")


async def test_a_switch_of_protocols_is_a_failure() -> None:
    """Nobody asked for one."""
    script = Script()
    script.answers = [[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello"]]
    async with running(script) as post:
        assert await post() == Failed("Request failed with status code 101", 101)


async def test_an_idle_connection_that_speaks_is_dropped() -> None:
    """Bytes that nobody asked for must not become the answer of the next request."""
    script = Script()
    script.answers = [[OK + b"|" + OK], [OK] * 9]
    async with running(script) as post:
        assert await post() == Delivered(200)
        await wait_until(lambda: script.open == 0, "the connection is closed")
        assert await post() == Delivered(200)
    assert script.connections == 2


@pytest.mark.parametrize(
    "extra",
    [
        b"HTTP/1.1 500 E\r\nContent-Length: 0\r\nRetry-After: 9\r\n\r\n",
        b"HTTP/1.1 500 E\r\nX: ",
        b"H",
        b"noise",
    ],
    ids=["an answer", "the head of one", "a letter", "noise"],
)
@pytest.mark.parametrize("first", [200, 503])
async def test_what_stands_behind_an_answer_is_not_heard(first: int, extra: bytes) -> None:
    """Neither as this answer nor as the next: it may be a lie about another one's webhook."""
    answer = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % first
    script = Script()
    script.answers = [[answer + extra, OK], [OK] * 9]
    async with running(script) as post:
        sent = await post()
        assert isinstance(sent, Delivered | Failed)
        assert (sent.status, getattr(sent, "retry_after_s", None)) == (first, None)
        assert await post() == Delivered(200)
    assert script.connections == 2


async def test_an_answer_to_one_webhook_is_never_that_of_the_next() -> None:
    """The half answer that a receiver leaves behind would become a whole one."""
    script = Script()
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    no = b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n"
    script.answers = [[whole + b"HTTP/1.1 200 OK\r\nX: ", no], [no]]
    async with running(script) as post:
        assert await post() == Delivered(200)
        assert await post() == Failed("Request failed with status code 503", 503)


async def _connected(script: Script) -> tuple[asyncio.Server, asyncio.Transport, HookConnection]:
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(HookConnection, "127.0.0.1", port)
    return server, transport, connection


async def test_a_receiver_that_says_goodbye_is_not_asked_again_there() -> None:
    """From that moment on, not only when the socket has been closed."""
    server, _, connection = await _connected(Script())
    await connection.post(HEAD, b"{}", asyncio.get_running_loop().time() + 5)
    assert (connection.status, connection.reusable) == (200, True)
    connection.eof_received()
    assert not connection.reusable
    connection.close()
    server.close()


async def test_a_connection_that_is_gone_is_not_waited_for() -> None:
    """The caller learns at once that nothing was heard, and takes another."""
    server, transport, connection = await _connected(Script())
    transport.close()
    await wait_until(lambda: not connection.reusable, "the connection knows it")
    async with asyncio.timeout(2):
        await connection.post(HEAD, b"{}", asyncio.get_running_loop().time() + 60)
    assert (connection.status, connection.heard, connection.reusable) == (None, 0, False)
    server.close()


async def test_idle_connections_are_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that is not needed any more gets its socket back."""
    monkeypatch.setattr(lean_sender, "KEPT_S", 0.02)
    script = Script()
    async with running(script) as post:
        assert await post() == Delivered(200)
        await wait_until(lambda: script.open == 0, "the connection is closed")
        assert await post() == Delivered(200)
    assert script.connections == 2


async def test_idle_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those past the bound are closed with their answer."""
    monkeypatch.setattr(lean_sender, "MAX_KEPT", 2)
    script = Script()
    async with running(script) as post:
        assert set(await asyncio.gather(*(post() for _ in range(5)))) == {Delivered(200)}
        await wait_until(lambda: script.open == 2, "two are kept")


async def test_tls_is_spoken_with_a_receiver_that_is_trusted(tmp_path: Path) -> None:
    """The certificate must be of the host that the URL names."""
    pem = tmp_path / "own.pem"
    pem.write_bytes(_certificate("127.0.0.1"))
    script = Script()
    async with running(script, pem) as post:
        assert [await post() for _ in range(2)] == [Delivered(200)] * 2
    assert script.connections == 1


async def test_a_name_with_a_dot_at_its_end_has_the_certificate_of_the_name(tmp_path: Path) -> None:
    """The dot is for name servers; no certificate has it."""
    pem = tmp_path / "named.pem"
    pem.write_bytes(_certificate("hooks.test"))
    script = Script()
    async with running(script, pem, "hooks.test.") as post:
        assert await post() == Delivered(200)


async def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    """Nothing is sent to whoever shows it."""
    pem = tmp_path / "other.pem"
    pem.write_bytes(_certificate("127.0.0.9"))
    script = Script()
    async with running(script, pem) as post:
        sent = await post()
    assert isinstance(sent, Failed)
    assert sent.error.startswith("TLS failed")
    assert script.requests == 0


def _certificate(host: str) -> bytes:
    """Return a key and a certificate of a host, signed by itself."""
    named = x509.DNSName(host) if host.endswith(".test") else x509.IPAddress(ip_address(host))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = SystemClock().utc_now()
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([named]), False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return secret + built.public_bytes(serialization.Encoding.PEM)
