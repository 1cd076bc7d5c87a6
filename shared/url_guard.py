"""Where a webhook may go: the guard against requests into the own network (SSRF).

Pure: it judges URLs and addresses that somebody else resolved; who sends must dial the very address
that was judged. An address that carries an IPv4 address inside (mapped, NAT64) is judged by that one;
tunnels (6to4, Teredo) are refused outright.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2048  # what servers and proxies take at least

# IANA's special-purpose registries: what is not a host of the public internet, and why.
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "an unspecified"),
        ("10.0.0.0/8", "a private"),
        ("100.64.0.0/10", "a private"),  # carrier-grade NAT; some clouds keep their metadata here
        ("127.0.0.0/8", "a loopback"),
        ("169.254.0.0/16", "a link-local"),  # metadata services live at 169.254.169.254
        ("172.16.0.0/12", "a private"),
        ("192.0.0.0/24", "a reserved"),  # and Oracle's metadata
        ("192.0.2.0/24", "a reserved"),
        ("192.88.99.0/24", "a tunnel"),
        ("192.168.0.0/16", "a private"),
        ("198.18.0.0/15", "a reserved"),
        ("198.51.100.0/24", "a reserved"),
        ("203.0.113.0/24", "a reserved"),
        ("224.0.0.0/4", "a multicast"),
        ("240.0.0.0/4", "a reserved"),
        ("168.63.129.16/32", "a metadata"),  # Azure's, at a public address
        ("::/96", "an unspecified"),  # ::, ::1 and the obsolete IPv4-compatible form
        ("64:ff9b:1::/48", "a private"),
        ("100::/64", "a reserved"),
        ("2001::/23", "a reserved"),  # Teredo, ORCHID and other protocols
        ("2001:db8::/32", "a reserved"),
        ("2002::/16", "a tunnel"),
        ("3fff::/20", "a reserved"),
        ("5f00::/16", "a reserved"),
        ("fc00::/7", "a private"),  # AWS keeps its metadata at fd00:ec2::254
        ("fe80::/10", "a link-local"),
        ("fec0::/10", "a private"),
        ("ff00::/8", "a multicast"),
    )
)
_NAT64 = ip_network("64:ff9b::/96")
_LOOPBACK = ip_address("::1")
_UNFIT = re.compile(r"[\x00-\x20\x7f\\]")  # parsers disagree about these; none belongs into a URL
_NUMERIC = re.compile(
    r"[0-9.]+|.*:.*"
)  # what an HTTP client takes for an address and does not resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRules:
    """What is allowed beside the public internet.

    Attributes:
        allow_private: everything may be dialled (WEBHOOK_ALLOW_PRIVATE).
        hosts: names whose addresses are not judged, in lower case.
        networks: addresses that are allowed.
    """

    allow_private: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()


def parse_rules(allowed: str, *, allow_private: bool) -> UrlRules:
    """Return the rules of an allow list: host names, addresses and networks, by commas or spaces.

    Raises:
        ValueError: an entry is neither.
    """
    hosts: set[str] = set()
    networks: list[Network] = []
    for entry in re.split(r"[,\s]+", allowed.strip()):
        if not entry:
            continue
        try:
            networks.append(ip_network(entry, strict=False))
        except ValueError:
            if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?", entry):
                raise ValueError(f"{entry!r} is neither a host name nor a network") from None
            hosts.add(entry.lower())
    return UrlRules(allow_private=allow_private, hosts=frozenset(hosts), networks=tuple(networks))


@lru_cache(1024)  # most tasks of a caller name the same few URLs
def refused_url(url: str, rules: UrlRules) -> str | None:
    """Tell why a URL may not be called, as far as it shows without resolving its host."""
    if len(url) > MAX_URL:
        return f"URL is longer than {MAX_URL} characters"
    if _UNFIT.search(url):
        return "URL has a space, a backslash or a control character"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "URL is malformed"
    if parts.scheme not in ("http", "https"):
        return "URL must begin with http:// or https://"
    if not host or port == 0:
        return "URL has no host" if not host else "URL has no valid port"
    return refused_literal(host, rules)


def refused_literal(host: str, rules: UrlRules) -> str | None:
    """Tell why a host that is written as an address may not be dialled; None for a name."""
    if not _NUMERIC.fullmatch(host):
        return None
    return refused_address(host, host, rules)


def refused_address(host: str, address: str, rules: UrlRules) -> str | None:
    """Tell why an address of a host may not be dialled; None when it may.

    Args:
        host: as the URL names it.
        address: one that the host resolved to; a zone (`%eth0`) is ignored.
        rules: what is allowed.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return f"{host} is not an address in its plain form"  # 127.1, 0x7f000001, 2130706433 …
    if rules.allow_private or host.lower().rstrip(".") in rules.hosts:
        return None
    plain = _unwrapped(parsed)
    if any(each in network for network in rules.networks for each in (parsed, plain)):
        return None
    reason = "a loopback" if plain == _LOOPBACK else _reason(plain)
    # Without the address: a caller must not map the inner network by asking.
    return None if reason is None else f"{host} leads to {reason} address"


def _reason(address: Address) -> str | None:
    return next((reason for network, reason in _REFUSED if address in network), None)


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
