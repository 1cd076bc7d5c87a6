"""One try of a webhook over our own connections, against real receivers; the guard included."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from yarl import URL

from balancer.delivery.lean_sender import LeanSender, Lookup, Target, addresses_of, target_of
from shared.client.webhook_sender import Delivered, Failed, Refused, Sent, WebhookSender
from shared.url_guard import UrlRules, parse_rules
from shared.webhooks import WebhookPolicy, parse_secrets, verify
from tests.fakes.hook_receiver import HookReceiver, hook_receiver
from tests.fakes.manual_clock import START, ManualClock
from tests.fakes.waiting import wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANYTHING = UrlRules(allow_private=True)
STRICT = UrlRules()

MakeSender = Callable[..., LeanSender]


class Names:
    """Resolves names by a table; each lookup takes the next answer, the last one stays."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): answers[name] for name in answers}
        self.lookups: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        """Return the next answer for a name."""
        del port
        self.lookups.append(host)
        if host not in self._answers:
            raise OSError(None, "Name or service not known")
        answers = self._answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    """Return a running receiver."""
    async with hook_receiver() as running:
        yield running


@pytest.fixture
async def sender_of() -> AsyncIterator[MakeSender]:
    """Return what makes senders, and close them."""
    made: list[LeanSender | WebhookSender] = []

    def make(
        rules: UrlRules = ANYTHING,
        policy: WebhookPolicy | None = None,
        lookup: Lookup = addresses_of,
    ) -> LeanSender:
        chosen, clock = policy or WebhookPolicy(), ManualClock()
        other = WebhookSender(chosen, rules, clock=clock)
        sender = LeanSender(chosen, rules, clock=clock, other=other, lookup=lookup)
        made.extend((sender, other))
        return sender

    yield make
    for each in made:
        await each.close()


async def send(sender: LeanSender, url: str, *headers: tuple[str, str]) -> Sent:
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
    assert await send(sender, receiver.url("/a?b=%2F"), ("X-Own", "grüße")) == Delivered(200)
    [got] = receiver.received
    assert (got.path, got.body) == ("/a?b=%2F", b'{"a":1}')
    assert verify(secrets, got.headers, got.body, now_s=START.timestamp()) is None
    wanted = {
        "x-set": "1",
        "x-own": "grüße",
        "x-correlation-id": "c-1",
        "x-cabrank-outcome": "succeeded",
        "content-type": "application/json",
        "content-length": "7",
        "accept": "*/*",
        "user-agent": "cabrank",
        "host": f"127.0.0.1:{receiver.port}",
    }
    assert wanted.items() <= got.headers.items()


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_every_2xx_is_a_delivery(
    receiver: HookReceiver, sender_of: MakeSender, status: int
) -> None:
    """Receivers answer what they like below 300."""
    receiver.script = [status]
    assert await send(sender_of(), receiver.url()) == Delivered(status)


@pytest.mark.parametrize("status", [301, 307, 400, 410, 503])
async def test_every_other_status_is_a_failure_in_anderas_words(
    receiver: HookReceiver, sender_of: MakeSender, status: int
) -> None:
    """Redirects are not followed, and the receiver's wish for patience is read."""
    receiver.script = [status]
    receiver.headers = {"Location": receiver.url("/elsewhere"), "Retry-After": "17"}
    sent = await send(sender_of(), receiver.url())
    assert sent == Failed(f"Request failed with status code {status}", status, 17.0)
    assert [got.path for got in receiver.received] == ["/hook"]


async def test_a_receiver_that_does_not_answer_is_given_up_in_time(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """The whole try is limited, over a kept connection too, and it is made once."""
    sender = sender_of(policy=WebhookPolicy(timeout_s=0.05))
    assert await send(sender, receiver.url()) == Delivered(200)
    receiver.gate = asyncio.Event()
    assert await send(sender, receiver.url()) == Failed("timeout of 50ms exceeded")
    assert await send(sender, receiver.url()) == Failed("timeout of 50ms exceeded")
    assert len(receiver.received) == 3


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
    assert sent == Failed("Request failed with status code 500", 500)


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
    sent = await send(sender_of(STRICT, lookup=Names()), "http://nowhere.test/")
    assert sent == Failed("getaddrinfo ENOTFOUND nowhere.test")


async def test_tls_to_a_plain_receiver_is_a_failure(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """No traceback, no hang."""
    sent = await send(sender_of(), receiver.url().replace("http:", "https:"))
    assert isinstance(sent, Failed)
    assert sent.error.startswith("TLS failed")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0.0.0.0", "0", "[::1]", "[::ffff:127.0.0.1]", "localhost",
     "0x7f000001"],
)  # fmt: skip
async def test_no_spelling_of_loopback_gets_through(
    receiver: HookReceiver, sender_of: MakeSender, host: str
) -> None:
    """Whatever a resolver would make of it, nothing is dialled."""
    sent = await send(sender_of(STRICT), receiver.url(host=host))
    assert isinstance(sent, Refused | Failed)
    assert isinstance(sent, Refused) or "ENOTFOUND" in sent.error  # 0x… may be no name at all here
    assert receiver.received == []


async def test_a_name_that_leads_inside_is_refused_and_not_dialled(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """The address decides, not the name; one bad address condemns the name."""
    names = Names(evil_test=[["127.0.0.1"]], mixed_test=[["8.8.8.8", "127.0.0.1"]])
    sender = sender_of(STRICT, lookup=names)
    for name in ("evil.test", "mixed.test"):
        sent = await send(sender, receiver.url(host=name))
        assert sent == Refused(f"{name} leads to a loopback address")
    assert receiver.received == []


async def test_an_allowed_name_is_looked_up_once_a_connection(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """The address that was judged is the one that is dialled; the Host header keeps the name."""
    names = Names(hooks_test=[["127.0.0.1"], ["8.8.8.8"]])
    sender = sender_of(parse_rules("hooks.test", allow_private=False), lookup=names)
    url = receiver.url(host="hooks.test")
    assert [await send(sender, url) for _ in range(3)] == [Delivered(200)] * 3
    assert receiver.received[0].headers["host"] == f"hooks.test:{receiver.port}"
    assert names.lookups == ["hooks.test"]


async def test_an_address_that_does_not_answer_leaves_it_to_the_next(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """A host with several addresses is reached by any of them."""
    names = Names(two_test=[["127.0.0.2", "127.0.0.1"]])  # nobody listens at the first
    sent = await send(sender_of(lookup=names), receiver.url(host="two.test"))
    assert sent == Delivered(200)


@pytest.mark.parametrize("url", ["ftp://a.test/", "http:///x", "http://a.test:99999/", "nonsense"])
async def test_a_url_that_is_none_is_refused(sender_of: MakeSender, url: str) -> None:
    """No exception reaches the caller."""
    assert isinstance(await send(sender_of(), url), Refused)


async def test_what_is_not_plain_goes_the_other_way(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """Credentials and fragments mean there what they mean everywhere."""
    url = receiver.url("/x#top", host="ada:pw@127.0.0.1")
    assert await send(sender_of(), url) == Delivered(200)
    [got] = receiver.received
    assert (got.path, got.headers["authorization"]) == ("/x", "Basic YWRhOnB3")


@pytest.mark.parametrize("place", ["/a{}b", "/?a={}b"])
def test_what_a_client_would_quote_is_not_plain(place: str) -> None:
    """A receiver gets the same request line by either way."""
    for sign in map(chr, range(0x21, 0x7F)):
        url = "http://hooks.test" + place.format(sign)
        target = target_of(url, ANYTHING)
        if isinstance(target, Target) and sign != "%":  # it stands for what the caller escaped
            assert target.line.startswith(f"POST {URL(url).raw_path_qs} HTTP".encode()), sign
        else:
            assert sign in '"#%<>[\\]^`{|}'


async def test_a_query_without_a_path_is_a_query_of_the_root(
    receiver: HookReceiver, sender_of: MakeSender
) -> None:
    """As every client sends it."""
    sender = sender_of()
    for path in ("", "?x=1"):
        assert await send(sender, receiver.url(path)) == Delivered(200)
    assert [got.path for got in receiver.received] == ["/", "/?x=1"]


async def test_closing_twice_and_before_use_is_fine(sender_of: MakeSender) -> None:
    """A process may stop before its first webhook."""
    sender = sender_of()
    await sender.close()
    await sender.close()


async def test_a_try_can_be_cancelled(receiver: HookReceiver, sender_of: MakeSender) -> None:
    """A process that stops does not wait for a receiver, and nothing stays open."""
    receiver.gate = asyncio.Event()
    trying = asyncio.ensure_future(send(sender_of(), receiver.url()))
    await wait_until(lambda: receiver.received, "the receiver has the request")
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    await wait_until(lambda: receiver.at_once == 0, "the receiver sees that the caller is gone")
