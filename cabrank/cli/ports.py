"""Looks at ports before processes are started on them, so that a taken one is said in plain words."""

from __future__ import annotations

import socket

from shared.errors import ConfigError


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there now."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
        return True


def free_ports(host: str, count: int) -> list[int]:
    """Return ports that nobody listens on, all different."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    probes = [socket.socket(family, kind, protocol) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(address)
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def chosen_ports(
    host: str, first: int, count: int, *, command: str, option: str, whose: str
) -> list[int]:
    """Return consecutive ports from the first, or any free ones when the first is 0.

    Args:
        host: address that is listened on.
        first: the first port.
        count: how many.
        command: what is being run, for the message.
        option: its option that chooses another, for the message.
        whose: who would listen, for the message.

    Raises:
        ConfigError: one of them is taken or does not exist.
    """
    if first == 0:
        return free_ports(host, count)
    ports = list(range(first, first + count))
    if ports[-1] > 65535:
        raise ConfigError(f"{option} {first}: {count} ports from there pass 65535")
    for port in ports:
        if not is_free(host, port):
            other = first + 100 if first + 100 + count <= 65535 else 0
            raise ConfigError(
                f"Port {port} on {host}, meant for {whose}, is taken by another process. "
                f"Choose another with {option}, for example: {command} {option} {other}"
            )
    return ports
