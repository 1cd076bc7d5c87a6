"""How a Redis store is opened: who may, with which password, over what, and which versions."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from balancer.store.open import open_store
from balancer.store.ports import Store
from balancer.store.redis import RedisStore
from balancer.store.redis.parts import Keys
from balancer.store.redis.schema import MIGRATIONS
from balancer.store.redis.wire import Wire
from shared.errors import ConfigError, Unavailable
from shared.ids import TaskId
from shared.system import SystemClock, SystemIds
from tests.fakes.lossy_proxy import lossy_proxy
from tests.fakes.raw_redis import RawRedis, raw_redis
from tests.fakes.redis_audit import RedisAudit
from tests.fakes.redis_server import RedisProcess
from tests.fakes.stored_tasks import accept, stored_task
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.redis


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Store]:
    """Open a store for a while."""
    store = await open_store(url, clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


def key(url: str, name: str) -> str:
    """Return a key that belongs to no part."""
    return f"{{{url.rpartition('namespace=')[2]}:meta}}:{name}"


def raw(url: str) -> RawRedis:
    """Return a client of the server of a store."""
    return raw_redis(url.partition("?")[0])


async def test_a_second_balancer_on_one_namespace_is_refused(url: str) -> None:
    """It waits whether the first one died, then says who has it; another namespace is free."""
    async with opened(url) as first:
        with pytest.raises(
            ConfigError, match=r"is in use by process \S+:\d+.*\?namespace="
        ) as caught:
            await open_store(url, clock=SystemClock())
        assert "p@ss" not in caught.value.message
        assert "p%40ss" not in caught.value.message
        await accept(first, stored_task(1))
        await accept_elsewhere(f"{url}-b")
    async with opened(url) as second:
        assert await second.tasks.count() == 1


async def accept_elsewhere(url: str) -> None:
    """Accept a task in another namespace, and leave nothing there."""
    async with opened(url) as other:
        await accept(other, stored_task(1))
    RedisAudit([url.partition("?")[0]], url.rpartition("=")[2]).remove()


async def test_the_lease_of_a_dead_balancer_is_waited_for(url: str) -> None:
    """It ends by itself, so a restart after kill -9 needs nobody's help."""
    client = raw(url)
    client.execute_command("SET", key(url, "lease"), "dead host:1", "PX", 800)
    client.close()
    async with opened(url) as store:
        await accept(store, stored_task(1))


async def test_a_lost_lease_is_an_outage_until_it_is_taken_again(url: str) -> None:
    """A balancer that another one has replaced writes nothing more."""
    client = raw(url)
    async with opened(url) as store:
        await accept(store, stored_task(1))
        client.execute_command("SET", key(url, "lease"), "other host:1")
        await wait_until(lambda: not store.healthy, "the loss is noticed")
        with pytest.raises(Unavailable, match="has lost its lease"):
            await accept(store, stored_task(2))
        client.execute_command("DEL", key(url, "lease"))
        await wait_until(lambda: store.healthy, "the lease is taken again")
        await accept(store, stored_task(3))
        assert await store.tasks.get(TaskId("t2")) is None
    assert client.execute_command("EXISTS", key(url, "lease")) == 0
    client.close()


async def test_a_newer_schema_is_refused(url: str) -> None:
    """Its balancer knows things that this one would destroy; nothing is touched, nothing is held."""
    client = raw(url)
    client.execute_command("SET", key(url, "schema"), len(MIGRATIONS) + 1)
    for _ in range(2):
        with pytest.raises(ConfigError, match="run the newer Cabrank that wrote it"):
            await open_store(url, clock=SystemClock())
    assert client.execute_command("GET", key(url, "schema")) == str(len(MIGRATIONS) + 1)
    client.close()


async def test_another_programs_schema_is_refused(url: str) -> None:
    """A namespace that somebody else uses is left as it was."""
    client = raw(url)
    client.execute_command("SET", key(url, "schema"), "theirs")
    with pytest.raises(ConfigError, match="another program"):
        await open_store(url, clock=SystemClock())
    client.close()


async def test_an_older_schema_is_migrated_at_the_start(url: str) -> None:
    """Each change that is missing is made once, in order, and what was kept is still there."""
    async with opened(url) as store:
        await accept(store, stored_task(1))
    made: list[str] = []

    async def second(wire: Wire, keys: Keys) -> None:
        del wire
        made.append(f"2 {keys.namespace}")

    for _ in range(2):
        again = await RedisStore.open(
            url, boot=SystemIds().boot, clock=SystemClock(), migrations=(*MIGRATIONS, second)
        )
        assert await again.tasks.count() == 1
        await again.close()
    assert made == [f"2 {url.rpartition('=')[2]}"]


async def test_a_wrong_password_stops_the_start_and_is_not_shown(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the refusal nor a log line has it."""
    caplog.set_level(logging.DEBUG)
    wrong = url.replace("p%40ss-of", "hunter2-of")
    with pytest.raises(ConfigError, match="cannot be opened") as caught:
        await open_store(wrong, clock=SystemClock())
    assert "hunter2" not in caught.value.message + caplog.text


async def test_a_server_that_is_not_there_stops_the_start() -> None:
    """The reason is said in words, without the password."""
    with pytest.raises(ConfigError, match=r"redis://127\.0\.0\.1:1 cannot be opened") as caught:
        await open_store("redis://:hunter2@127.0.0.1:1", clock=SystemClock())
    assert "hunter2" not in caught.value.message


async def test_a_server_that_may_lose_tasks_is_warned_of(tmp_path: Path) -> None:
    """Without its log, or free to drop what it likes, it is no place for what was accepted."""
    server = RedisProcess(tmp_path, "--maxmemory-policy", "allkeys-lru")
    server.start()
    try:
        with capture_logs() as lines:
            async with opened(server.url):
                pass
    finally:
        server.stop()
    told = " ".join(str(line["event"]) for line in lines)
    assert "appendonly=no" in told
    assert "maxmemory-policy=allkeys-lru" in told


async def test_a_socket_works_as_a_port_does(tmp_path: Path) -> None:
    """`unix://` reaches a server that is on the same machine."""
    server = RedisProcess(tmp_path, "--unixsocket", str(tmp_path / "x.sock"))
    server.start()
    try:
        async with opened(f"unix://{tmp_path}/x.sock?namespace=a") as store:
            await accept(store, stored_task(1))
        async with opened(f"{server.url}?namespace=a") as store:
            assert await store.tasks.count() == 1
    finally:
        server.stop()


async def test_tls_is_spoken_and_certificates_are_checked(
    tmp_path: Path, url: str, server: RedisProcess
) -> None:
    """`rediss://` takes a certificate of the authority that is named, and no other."""
    certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    async with lossy_proxy(server.port, b"", context) as proxy:
        over = url.replace("redis://", "rediss://").replace(f":{server.port}/", f":{proxy.port}/")
        with pytest.raises(ConfigError, match="cannot be opened") as caught:
            await open_store(over, clock=SystemClock())
        assert "p@ss" not in caught.value.message
        async with opened(f"{over}&ca={tmp_path}/c.pem") as store:
            await accept(store, stored_task(1))
            assert await store.tasks.count() == 1


def certificate(folder: Path) -> None:
    """Write a certificate of 127.0.0.1 that signs itself, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=36500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    (folder / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "k.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


async def test_the_audit_finds_a_key_that_nothing_leads_to(url: str) -> None:
    """The leak check of these tests can fail."""
    async with opened(url) as store:
        await accept(store, stored_task(1))
    server, namespace = url.partition("?")[0], url.rpartition("=")[2]
    audit = RedisAudit([server], namespace)
    audit.check()
    client = raw(url)
    for leak in (("HSET", "t:lost", "st", "queued"), ("SET", "stray", "1"), ("SADD", "o:me", "t1")):
        name = f"{{{namespace}:ff}}:{leak[1]}"
        client.execute_command(leak[0], name, *leak[2:])
        with pytest.raises(AssertionError, match=leak[1].partition(":")[2] or leak[1]):
            audit.check()
        client.execute_command("DEL", name)
    client.close()
