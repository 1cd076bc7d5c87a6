"""Where webhooks may go: the public internet, and what the rules add."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.url_guard import (
    MAX_URL,
    UrlRules,
    parse_rules,
    refused_address,
    refused_literal,
    refused_url,
)

STRICT = UrlRules()
ANYTHING = UrlRules(allow_private=True)

BAD = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
    "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1",
]  # fmt: skip
GOOD = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1",
    "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", BAD)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Private, loopback, link-local, metadata, multicast, unspecified, tunnels, and those in disguise."""
    why = refused_address("hooks.test", address, STRICT)
    assert why is not None
    assert why.startswith("hooks.test leads to a")
    assert address not in why
    assert refused_address("hooks.test", address, ANYTHING) is None


@pytest.mark.parametrize("address", GOOD)
def test_public_addresses_pass(address: str) -> None:
    """Neighbours of refused networks too."""
    assert refused_address("hooks.test", address, STRICT) is None


@given(st.integers(0, 2**32 - 1))
def test_no_address_that_is_not_global_passes_in_any_disguise(number: int) -> None:
    """Whatever Python calls private is refused, plain, mapped and through NAT64 alike."""
    plain = IPv4Address(number)
    forms = [plain, IPv6Address(f"::ffff:{plain}"), IPv6Address(f"64:ff9b::{plain}")]
    verdicts = {refused_address("x", str(form), STRICT) is None for form in forms}
    assert len(verdicts) == 1
    if not plain.is_global or plain.is_multicast:
        assert verdicts == {False}


@given(st.integers(0, 2**128 - 1))
def test_no_ipv6_address_that_is_not_global_passes(number: int) -> None:
    """Python's own table is the second opinion."""
    address = IPv6Address(number)
    if not address.is_global:
        assert refused_address("x", str(address), STRICT) is not None


@pytest.mark.parametrize(
    ("host", "address", "passes"),
    [
        ("receiver", "172.18.0.5", True),
        ("Receiver.", "127.0.0.1", True),
        ("other", "172.18.0.5", False),
        ("x.receiver", "172.18.0.5", False),
        ("other", "10.1.2.3", True),
        ("other", "::ffff:10.1.2.3", True),
        ("other", "10.2.0.1", False),
        ("other", "fd00::5", True),
        ("other", "192.168.7.7", True),
        ("other", "192.168.7.8", False),
    ],
)
def test_an_allow_list_names_hosts_addresses_and_networks(
    host: str, address: str, passes: bool
) -> None:
    """Only what is named is allowed beside the public internet."""
    rules = parse_rules("receiver, 10.1.0.0/16 fd00::/8,192.168.7.7", allow_private=False)
    assert (refused_address(host, address, rules) is None) is passes


@pytest.mark.parametrize("entry", ["http://x", "10.0.0.0/99", "a b!", "*", "-x"])
def test_an_entry_that_is_neither_stops_the_start(entry: str) -> None:
    """The entry is named."""
    with pytest.raises(ValueError, match="neither a host name nor a network"):
        parse_rules(entry, allow_private=False)


def test_an_empty_allow_list_allows_nothing() -> None:
    """The default is the public internet."""
    assert parse_rules(" ", allow_private=False) == STRICT


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://a.test/", "http://"),
        ("file:///etc/passwd", "http://"),
        ("//a.test/", "http://"),
        ("a.test", "http://"),
        ("", "http://"),
        ("http:///x", "no host"),
        ("http://", "no host"),
        ("http://a.test:99999/", "malformed"),
        ("http://a.test:0/", "port"),
        ("http://[::1/", "malformed"),
        ("http://a.test/ x", "space"),
        ("http://a.test\\@b.test/", "backslash"),
        ("http://a.test/\r\nx: y", "control"),
        ("http://a.test/" + "x" * MAX_URL, "longer"),
        ("http://127.0.0.1/", "loopback"),
        ("http://u:p@127.0.0.1:80/", "loopback"),
        ("http://[::1]/", "loopback"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://2130706433/", "plain form"),
        ("http://127.1/", "plain form"),
        ("http://0177.0.0.1/", "plain form"),
    ],
)
def test_urls_that_may_not_be_called_are_refused(url: str, problem: str) -> None:
    """What shows without resolving is refused without resolving."""
    why = refused_url(url, STRICT)
    assert why is not None
    assert problem in why


@pytest.mark.parametrize(
    "url",
    [
        "http://a.test",
        "https://A.test:8443/x?y=%2F#z",
        "http://u:p@a.test/",
        "http://8.8.8.8/",
        "HTTP://a.test/",
    ],
)
def test_public_urls_pass(url: str) -> None:
    """Names are judged by their addresses, when they are resolved."""
    assert refused_url(url, STRICT) is None


def test_private_urls_pass_when_everything_may() -> None:
    """On a machine of one's own."""
    assert refused_url("http://127.0.0.1:9/", ANYTHING) is None
    assert refused_url("ftp://127.0.0.1/", ANYTHING) is not None


@pytest.mark.parametrize("host", ["a.test", "localhost", "0x7f.0.0.1", "1.a"])
def test_a_name_is_no_literal(host: str) -> None:
    """Names are left to the resolver."""
    assert refused_literal(host, STRICT) is None


@pytest.mark.parametrize("address", [each for each in GOOD if "ff" not in each])
def test_the_good_addresses_are_public_by_pythons_table(address: str) -> None:
    """A typo in the table above would show here; addresses that carry another one are not in Python's."""
    assert ip_address(address).is_global
