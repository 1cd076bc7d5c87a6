"""One try of a webhook against a real receiver, and the guard that sits in the connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from shared.client.webhook_sender import Delivered, Failed, Refused, Sent, WebhookSender
from shared.url_guard import UrlRules, parse_rules
from shared.webhooks import WebhookPolicy, parse_secrets, verify
from tests.fakes.hook_receiver import HookReceiver, ScriptedResolver, hook_receiver
from tests.fakes.manual_clock import START, ManualClock
from tests.fakes.waiting import wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANYTHING = UrlRules(allow_private=True)
STRICT = UrlRules()

MakeSender = Callable[..., WebhookSender]


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    """Return a running receiver."""
    async with hook_receiver() as running:
        yield running


@pytest.fixture
async def sender_of() -> AsyncIterator[MakeSender]:
    """Return what makes senders, and close them."""
    made: list[WebhookSender] = []

    def make(
        rules: UrlRules = ANYTHING,
        policy: WebhookPolicy | None = None,
        resolver: ScriptedResolver | None = None,
    ) -> WebhookSender:
        sender = WebhookSender(
            policy or WebhookPolicy(), rules, clock=ManualClock(), resolver=resolver
        )
        made.append(sender)
        return sender

    yield make
    for each in made:
        await each.close()


async def send(sender: WebhookSender, url: str, *headers: tuple[str, str]) -> Sent:
    """Send the webhook of every test."""
    return await sender.send(
        webhook_id="msg_1",
        url=url,
        body=b'{"a":1}',
        outcome="succeeded",
        headers=headers,
        correlation_id="c-1",
    )


async def test_a_webhook_arrives_signed_and_whole(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """Body, headers and signature are what a receiver verifies."""
    secrets = parse_secrets(SECRET)
    sender = sender_of(policy=WebhookPolicy(secrets=secrets, headers=(("x-set", "1"),)))
    assert await send(sender, receiver.url(), ("X-Own", "2")) == Delivered(200)
    [got] = receiver.received
    assert got.body == b'{"a":1}'
    assert verify(secrets, got.headers, got.body, now_s=START.timestamp()) is None
    wanted = {
        "x-set": "1",
        "x-own": "2",
        "x-correlation-id": "c-1",
        "x-cabrank-outcome": "succeeded",
    }
    assert wanted.items() <= got.headers.items()
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_a_delivery(
    receiver: HookReceiver, sender_of: MakeSender, status: int
) -> None:
    """Receivers answer what they like below 300."""
    receiver.script = [status]
    assert await send(sender_of(), receiver.url()) == Delivered(status)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 500, 503])
async def test_every_other_status_is_a_failure_in_anderas_words(
    receiver: HookReceiver, sender_of: MakeSender, status: int
) -> None:
    """Redirects are not followed: they would lead past the guard."""
    receiver.script = [status]
    receiver.headers = {"Location": receiver.url("/elsewhere")}
    sent = await send(sender_of(), receiver.url())
    assert sent == Failed(f"Request failed with status code {status}", status)
    assert [got.path for got in receiver.received] == ["/hook"]


async def test_retry_after_is_read(receiver: HookReceiver, sender_of: MakeSender) -> None:
    """The receiver's wish reaches the decision."""
    receiver.script = [429]
    receiver.headers = {"Retry-After": "17"}
    sent = await send(sender_of(), receiver.url())
    assert isinstance(sent, Failed)
    assert sent.retry_after_s == 17.0


async def test_a_receiver_that_does_not_answer_is_given_up_in_time(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """The whole try is limited."""
    receiver.gate = asyncio.Event()
    sent = await send(sender_of(policy=WebhookPolicy(timeout_s=0.05)), receiver.url())
    assert sent == Failed("timeout of 50ms exceeded")


async def test_a_status_in_time_counts_though_the_rest_never_comes(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """The status is the answer; a body that drips for ever holds nobody past the limit."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=200)
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    receiver.custom = drip
    sender = sender_of(policy=WebhookPolicy(timeout_s=0.1))
    assert await send(sender, receiver.url()) == Delivered(200)


async def test_an_endless_answer_is_not_read_to_its_end(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """The sender reads a bounded part and drops the connection."""
    ended = asyncio.Event()

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            ended.set()

    receiver.custom = flood
    async with asyncio.timeout(10):
        sent = await send(sender_of(policy=WebhookPolicy(timeout_s=60)), receiver.url())
        await ended.wait()
    assert isinstance(sent, Failed)
    assert sent.status == 500


async def test_nobody_listening_reads_like_andera(sender_of: MakeSender) -> None:
    """The address and the reason are named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets this port
        port = taken.getsockname()[1]
        sent = await send(sender_of(), f"http://127.0.0.1:{port}/")
    assert sent == Failed(f"connect ECONNREFUSED 127.0.0.1:{port}")


async def test_a_name_that_does_not_resolve_is_a_failure_that_may_pass(
    sender_of: MakeSender,
) -> None:
    """Name servers have bad days too."""
    sender = sender_of(STRICT, resolver=ScriptedResolver())
    assert await send(sender, "http://nowhere.test/") == Failed(
        "getaddrinfo ENOTFOUND nowhere.test"
    )
    assert await sender.refusal("http://nowhere.test/") is None


async def test_a_receiver_that_hangs_up_is_a_failure(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """Half an answer is none."""

    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    receiver.custom = hang_up
    assert await send(sender_of(), receiver.url()) == Failed("socket hang up")


async def test_tls_to_a_plain_receiver_is_a_failure(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """No traceback, no hang."""
    sent = await send(sender_of(), receiver.url().replace("http:", "https:"))
    assert isinstance(sent, Failed)
    assert sent.error.startswith("TLS failed")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "0x7f000001",
    ],
)
async def test_no_spelling_of_loopback_gets_through(
    receiver: HookReceiver, sender_of: MakeSender, host: str
) -> None:
    """Whatever the client would make of it, nothing is dialled."""
    sent = await send(sender_of(STRICT), receiver.url(host=host))
    assert isinstance(sent, Refused | Failed)
    assert isinstance(sent, Refused) or "ENOTFOUND" in sent.error  # 0x… may be no name at all here
    assert receiver.received == []


async def test_a_name_that_leads_inside_is_refused_and_not_dialled(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """The address decides, not the name; one bad address condemns the name."""
    resolver = ScriptedResolver(evil_test=[["127.0.0.1"]], mixed_test=[["8.8.8.8", "127.0.0.1"]])
    sender = sender_of(STRICT, resolver=resolver)
    for name in ("evil.test", "mixed.test"):
        reason = f"{name} leads to a loopback address"
        assert await send(sender, receiver.url(host=name)) == Refused(reason)
        assert await sender.refusal(receiver.url(host=name)) == reason
    assert receiver.received == []


async def test_a_name_that_changes_its_answer_gains_nothing(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """DNS rebinding: the check happens on the very answer that would be dialled."""
    resolver = ScriptedResolver(rebind_test=[["8.8.8.8"], ["127.0.0.1"]])
    sender = sender_of(STRICT, resolver=resolver)
    assert await sender.refusal(receiver.url(host="rebind.test")) is None
    sent = await send(sender, receiver.url(host="rebind.test"))
    assert sent == Refused("rebind.test leads to a loopback address")
    assert receiver.received == []


async def test_an_allowed_name_is_dialled_at_the_address_that_was_resolved(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """An allow list opens one name; the Host header keeps it, and it is looked up once a connection."""
    resolver = ScriptedResolver(hooks_test=[["127.0.0.1"]])
    sender = sender_of(parse_rules("hooks.test", allow_private=False), resolver=resolver)
    url = receiver.url(host="hooks.test")
    assert await sender.refusal(url) is None
    assert await send(sender, url) == Delivered(200)
    assert await send(sender, url) == Delivered(200)
    assert receiver.received[0].headers["host"] == f"hooks.test:{receiver.port}"
    assert resolver.lookups == ["hooks.test", "hooks.test"]  # the check, then one connection kept


@pytest.mark.parametrize("url", ["ftp://a.test/", "http:///x", "http://a.test:99999/", "nonsense"])
async def test_a_url_that_is_none_is_refused(sender_of: MakeSender, url: str) -> None:
    """No exception reaches the caller."""
    sender = sender_of()
    assert isinstance(await send(sender, url), Refused)
    assert await sender.refusal(url) is not None


async def test_a_url_is_called_as_it_was_given(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """A presigned URL is not quoted anew; a fragment stays at home."""
    path = "/a%2Fb/%7Ec?sig=x%2By%3D&e=1%2F2"
    assert await send(sender_of(), receiver.url(path + "#top")) == Delivered(200)
    assert receiver.received[0].path == path


async def test_credentials_of_a_url_become_a_header_unless_there_is_one(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """Andera's callers write http://user:password@host."""
    url = receiver.url(host="ada:pw@127.0.0.1")
    sender = sender_of()
    assert await send(sender, url) == Delivered(200)
    assert await send(sender, url, ("Authorization", "Bearer x")) == Delivered(200)
    assert [got.headers["authorization"] for got in receiver.received] == [
        "Basic YWRhOnB3",
        "Bearer x",
    ]


async def test_closing_twice_and_before_use_is_fine() -> None:
    """A process may stop before its first webhook."""
    sender = WebhookSender(WebhookPolicy(), STRICT, clock=ManualClock())
    await sender.close()
    await sender.close()


async def test_a_try_can_be_cancelled(receiver: HookReceiver, sender_of: MakeSender) -> None:
    """A process that stops does not wait for a receiver."""
    receiver.gate = asyncio.Event()
    trying = asyncio.ensure_future(send(sender_of(), receiver.url()))
    await wait_until(lambda: receiver.received, "the receiver has the request")
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
