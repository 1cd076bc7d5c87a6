"""Redis as it runs for real: three Sentinels over a master and a replica, and a Cluster of three nodes.

There is no redis-cli here: what it would send is sent by hand. All of it is on loopback, in one temporary
folder, and ended by pid.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.raw_redis import RawRedis, raw_redis, texts
from tests.fakes.redis_server import RedisProcess
from tests.fakes.waiting import wait_until_sync

SERVICE = "cabrank"
SLOTS = 16384
FAST = ("--repl-diskless-sync-delay", "0", "--repl-timeout", "5")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class Watched:
    """A master, its replica, and the Sentinels that watch over them."""

    def __init__(self, folder: Path) -> None:
        self.master = RedisProcess(folder / "a", *DURABLE, *FAST)
        self.replica = RedisProcess(folder / "b", *DURABLE, *FAST)
        for each in ("a", "b"):
            (folder / each).mkdir()
        config = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.master.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )
        self.sentinels = [RedisProcess(folder, sentinel=config) for _ in range(3)]
        self.all = [self.master, self.replica, *self.sentinels]

    @property
    def url(self) -> str:
        """Return the STORE_URL."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def start(self) -> None:
        """Start everything, and return when a failover would work."""
        self.master.start()
        self.replica.start()
        replica = raw_redis(self.replica.url)
        replica.execute_command("REPLICAOF", "127.0.0.1", self.master.port)
        wait_until_sync(
            lambda: texts(replica.execute_command("ROLE"))[3] == "connected",
            "the replica follows",
        )
        replica.close()
        for each in self.sentinels:
            each.launch()
        for each in self.sentinels:
            each.wait()
            client = raw_redis(each.url.removesuffix("/0"))
            wait_until_sync(lambda client=client: _knows_all(client), "the Sentinels know all", 20)
            client.close()

    def failed_over(self) -> bool:
        """Tell whether the replica has become the master."""
        client = raw_redis(self.replica.url)
        role = texts(client.execute_command("ROLE"))[0]
        client.close()
        return role == "master"


def _knows_all(sentinel: RawRedis) -> bool:
    flat = texts(sentinel.execute_command("SENTINEL", "MASTER", SERVICE))
    state = dict(zip(flat[::2], flat[1::2], strict=True))
    others, replicas = state["num-other-sentinels"], state["num-slaves"]
    return (others, replicas, state["flags"]) == ("2", "1", "master")


@contextmanager
def watched(folder: Path) -> Generator[Watched]:
    """Run a master, a replica and three Sentinels while the context lasts."""
    fleet = Watched(folder)
    try:
        fleet.start()
        yield fleet
    finally:
        for each in fleet.all:
            each.stop()


class Cluster:
    """Three masters that share the hash slots."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[RedisProcess] = []
        for name in ("a", "b", "c"):
            (folder / name).mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *DURABLE)
            self.nodes.append(RedisProcess(folder / name, *options))

    @property
    def url(self) -> str:
        """Return the STORE_URL; it names two of the nodes, the third one is found."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.nodes[:2])
        return f"redis+cluster://{hosts}"

    @property
    def urls(self) -> list[str]:
        """Return the URL of every node."""
        return [each.url for each in self.nodes]

    def start(self) -> None:
        """Start the nodes, share out the slots, and return when they agree."""
        for each in self.nodes:
            each.start()
        clients = [raw_redis(url) for url in self.urls]
        edges = [SLOTS * n // 3 for n in range(4)]
        for n, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", edges[n], edges[n + 1] - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for other in self.nodes[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
        for client in clients:
            wait_until_sync(lambda client=client: _agrees(client), "the nodes agree", 20)
            client.close()


def _agrees(node: RawRedis) -> bool:
    text = str(node.execute_command("CLUSTER", "INFO"))
    return "cluster_state:ok" in text and "cluster_known_nodes:3" in text


@contextmanager
def cluster(folder: Path) -> Generator[Cluster]:
    """Run a cluster of three nodes while the context lasts."""
    fleet = Cluster(folder)
    try:
        fleet.start()
        yield fleet
    finally:
        for each in fleet.nodes:
            each.stop()
