"""A thousand streams at once: pieces a second, and the memory that an idle one costs the balancer."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from functools import partial

from benchmarks import servers
from benchmarks.caller import READ_BYTES, Address, Request, WrongAnswerError, post
from benchmarks.load import SILENCE_S, Callers, callers
from benchmarks.plan import Plan, interleaved, median, ratio
from benchmarks.report import Goal, Section, Table
from benchmarks.servers import KEY, System

STREAMS = 1000
SLOTS = STREAMS + 100
WARM = 50  # streams before memory is looked at
IDLE_KIB = 20.0
SETTLE_S = 1.0
_END = b"\r\n0\r\n\r\n"
_CHUNK = re.compile(rb"([0-9a-fA-F]+)\r\n")


def run(plan: Plan) -> Section:
    """Measure."""
    count = 20 if plan.quick else 50
    section = Section("streams")
    with ExitStack() as stack:
        bare = stack.enter_context(servers.bare())
        fleet = stack.enter_context(servers.fleet("balancer + worker", slots=SLOTS, fast_lane=True))
        direct = System("our worker directly", fleet.children[1].address(), fleet.children[1:])
        turns = {
            system.name: partial(_pieces_a_second, system.address, path, count)
            for system, path in ((bare, "/stream"), (direct, "/task"), (fleet, "/task"))
        }
        seen = interleaved(plan.few, turns)
        title = f"{STREAMS} streams at once, {count} pieces each"
        table = Table(title, ("system", "pieces/s", "of bare"), ratios=("of bare",))
        for name, rates in seen.items():
            table.add(name, median(rates), ratio(rates, seen[bare.name]))
        section.tables.append(table)
    _idle(section)
    return section


def _pieces_a_second(address: Address, path: str, count: int) -> float:
    """Read so many streams to their ends; each must be whole and its own."""
    requests: list[Request] = []
    texts: list[bytes] = []
    for n in range(STREAMS):
        name = f"s{n:04d}"
        text = f'{{"count":{count},"name":"{name}"}}'
        requests.append(_request("pieces", text, path))
        texts.append("".join(f"{name} piece {k:06d} of a stream\n" for k in range(count)).encode())
    with callers(address, requests) as connected:
        began_s = time.perf_counter()
        streams = _read_all(connected, _END)
        elapsed_s = time.perf_counter() - began_s
    for caller, text in zip(connected.all, texts, strict=True):
        if _plain(streams[caller]) != text:
            raise WrongAnswerError(f"a stream is not what was sent: {streams[caller][:300]!r}")
    return STREAMS * count / elapsed_s


def _idle(section: Section) -> None:
    """Open streams that say one word and wait; look at the memory of a fresh balancer."""
    request = _request("quiet", "{}", "/task")
    with servers.fleet("idle streams", slots=SLOTS, fast_lane=True) as fleet:
        with callers(fleet.address, [request] * WARM) as connected:
            _read_all(connected, b"open\n\r\n")
        time.sleep(SETTLE_S)  # those who left have been noticed
        before = [child.rss_bytes for child in fleet.children]
        with callers(fleet.address, [request] * STREAMS) as connected:
            _read_all(connected, b"open\n\r\n")
            time.sleep(SETTLE_S)
            after = [child.rss_bytes for child in fleet.children]
    table = Table(f"Memory of an idle stream ({STREAMS} open)", ("process", "KiB a stream"))
    used = [(b - a) / STREAMS / 1024 for a, b in zip(before, after, strict=True)]
    for name, kib in zip(("balancer", "worker"), used, strict=True):
        table.add(name, kib)
    section.tables.append(table)
    claim = "memory of an idle stream in the balancer"
    section.goals.append(Goal(claim, used[0], IDLE_KIB, at_least=False, unit="KiB"))


def _request(function: str, text: str, path: str) -> Request:
    body = (
        f'{{"function":"{function}","input":{text},"group":"default","contract":1,"mode":"stream"}}'
    )
    return post(path, body.encode(), key=KEY)


def _read_all(connected: Callers, end: bytes) -> dict[object, bytes]:
    """Send every request, and read until every answer ends so."""
    parts: dict[object, list[bytes]] = {caller: [] for caller in connected.all}
    now_s = time.perf_counter()
    for caller in connected.all:
        caller.send(now_s)
    left = set(connected.all)
    while left:
        ready = connected.wait(SILENCE_S)
        if not ready:
            raise WrongAnswerError(f"{len(left)} streams say nothing for {SILENCE_S:g} s")
        for caller in ready:
            data = caller.sock.recv(READ_BYTES)
            if not data:
                raise WrongAnswerError(f"a stream was cut: {b''.join(parts[caller])[-300:]!r}")
            got = parts[caller]
            got.append(data)
            tail = data if len(data) >= len(end) or len(got) == 1 else b"".join(got[-8:])
            if tail.endswith(end):
                left.discard(caller)
    return {caller: b"".join(each) for caller, each in parts.items()}


def _plain(answer: bytes) -> bytes:
    """Return the body of a chunked answer."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or b"chunked" not in head.lower():
        raise WrongAnswerError(f"not a stream: {answer[:300]!r}")
    parts: list[bytes] = []
    at = 0
    while chunk := _CHUNK.match(rest, at):
        size = int(chunk[1], 16)
        parts.append(rest[chunk.end() : chunk.end() + size])
        at = chunk.end() + size + 2
    return b"".join(parts)
