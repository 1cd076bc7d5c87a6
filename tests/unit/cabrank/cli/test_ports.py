"""Ports are looked at before anything is started on them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from cabrank.cli.ports import chosen_ports, free_ports, is_free
from shared.errors import ConfigError

HOST = "127.0.0.1"


def _choose(first: int, count: int = 1) -> list[int]:
    return chosen_ports(
        HOST, first, count, command="cabrank up", option="--port", whose="the balancer"
    )


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((HOST, 0)) as server:
        yield int(server.getsockname()[1])


def test_a_taken_port_is_said_in_plain_words(taken: int) -> None:
    """The message names the port, who wanted it, and how to choose another."""
    assert not is_free(HOST, taken)
    with pytest.raises(ConfigError) as caught:
        _choose(taken)
    assert f"Port {taken} on {HOST}, meant for the balancer, is taken" in caught.value.message
    assert "cabrank up --port" in caught.value.message


def test_a_free_port_is_taken_as_it_is() -> None:
    """A port that nobody listens on is used."""
    [port] = free_ports(HOST, 1)
    assert is_free(HOST, port)
    assert _choose(port) == [port]


def test_zero_takes_free_ones() -> None:
    """Port 0 means any, and several are different."""
    ports = _choose(0, 5)
    assert len(set(ports)) == 5
    assert all(is_free(HOST, port) for port in ports)


def test_ports_end_somewhere() -> None:
    """Consecutive ports past the last one are refused."""
    with pytest.raises(ConfigError, match="65535"):
        _choose(65530, 10)
