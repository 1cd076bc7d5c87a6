"""STORE_URL of a Redis: which servers, how to reach them, and in which namespace.

    redis://[user:password@]host[:port][/db]            one server
    rediss://…                                          the same over TLS
    unix://[user:password@]/path/to/socket[?db=n]       a socket of this machine
    redis+sentinel://…@host:port,host:port/<service>[/db]
    redis+cluster://…@host:port,host:port

Options: `namespace` (what keys begin with), for Sentinel and Cluster `tls=true`, and for TLS `ca` (a file).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from shared.errors import ConfigError

PORT = 6379
SENTINEL_PORT = 26379
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPTIONS = {
    "redis": {"namespace"},
    "rediss": {"namespace", "ca"},
    "unix": {"namespace", "db"},
    "redis+sentinel": {"namespace", "tls", "ca"},
    "redis+cluster": {"namespace", "tls", "ca"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a store is.

    Attributes:
        kind: redis, sentinel or cluster.
        hosts: the servers that are asked first; empty for a socket.
        path: of the socket.
        user: name, when the server has names.
        password: of the user; never shown.
        db: number of the database.
        service: what Sentinel calls the master.
        tls: speak TLS.
        ca: file of the authority that signed the servers' certificates; None for the system's.
        namespace: what keys begin with.
        shown: the URL without its secrets.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    service: str = ""
    tls: bool = False
    ca: str | None = None
    namespace: str = "cabrank"
    shown: str = ""


def address_of(url: str) -> Address:
    """Return what a STORE_URL says.

    Raises:
        ConfigError: it says something else than the forms above; the text has no secret.
    """
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?") if "@" not in rest else _cut_options(rest)
    login, _, place = rest.rpartition("@")
    shown = f"{scheme}://{place}"
    options = _options(scheme, query, shown)
    user, _, password = login.partition(":")
    kind = {"redis+sentinel": "sentinel", "redis+cluster": "cluster"}.get(scheme, "redis")
    hosts, path = (), ""
    if scheme == "unix":
        path, service, db = place, "", options.get("db", "0")
        if not path.startswith("/"):
            raise _wrong(shown, "a socket is an absolute path, unix:///path")
    else:
        names, _, tail = place.partition("/")
        hosts = _hosts(names, SENTINEL_PORT if kind == "sentinel" else PORT, shown)
        service, db = _tail(kind, tail, shown)
        if kind == "redis" and len(hosts) != 1:
            raise _wrong(shown, "one host; several need redis+sentinel:// or redis+cluster://")
    if not db.isascii() or not db.isdigit():
        raise _wrong(shown, "the database is a number")
    return Address(
        kind=kind, hosts=hosts, path=path, user=unquote(user) or None,
        password=unquote(password) or None, db=int(db), service=service,
        tls=scheme == "rediss" or options.get("tls") == "true", ca=options.get("ca"),
        namespace=options.get("namespace", "cabrank"), shown=shown,
    )  # fmt: skip


def _cut_options(rest: str) -> tuple[str, str, str]:
    """Cut the options off; a password that was not escaped may hold a question mark."""
    login, _, place = rest.rpartition("@")
    place, mark, query = place.partition("?")
    return f"{login}@{place}", mark, query


def _hosts(names: str, port: int, shown: str) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for name in names.split(","):
        matched = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/\s]+)(?::(\d{1,5}))?", name)
        if matched is None or not 0 < int(matched[2] or port) < 65536:
            raise _wrong(shown, "hosts are host:port, with commas between")
        found.append((matched[1].strip("[]"), int(matched[2] or port)))
    return tuple(found)


def _tail(kind: str, tail: str, shown: str) -> tuple[str, str]:
    """Return the service and the database that stand behind the hosts."""
    if kind == "cluster":
        if tail not in ("", "0"):
            raise _wrong(shown, "a cluster has the database 0 only")
        return "", "0"
    if kind == "redis":
        return "", tail or "0"
    service, _, db = tail.partition("/")
    if not service:
        raise _wrong(shown, "name the service: redis+sentinel://host:port/<service>")
    return unquote(service), db or "0"


def _options(scheme: str, query: str, shown: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = _OPTIONS[scheme]
    if unknown := sorted(set(options) - known):
        # The name only: a secret may have been put here by mistake.
        raise _wrong(shown, f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if not _NAMESPACE.fullmatch(options.get("namespace", "cabrank")):
        raise _wrong(shown, "namespace is 1 to 64 of A-Z a-z 0-9 . _ -")
    if options.get("tls", "true") not in ("true", "false"):
        raise _wrong(shown, "tls is true or false")
    return options


def _wrong(shown: str, expected: str) -> ConfigError:
    return ConfigError(f"STORE_URL {shown!r} is not understood: {expected}")
