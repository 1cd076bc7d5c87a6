"""The load generator: many callers in one epoll loop, closed or open, every answer checked.

Closed: each caller calls again as soon as it has its answer; what is measured is throughput.
Open: calls fall due at fixed times, whatever is still under way, and a latency counts from when its
call was due. So a stall is paid by every call that fell into it, not by one (coordinated omission).

Plain sockets and epoll, because this shares two cores with what it measures: asyncio would cost more
per answer than some of the servers.
"""

from __future__ import annotations

import gc
import select
import time
from array import array
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.caller import Address, Caller, Request, WrongAnswerError

SILENCE_S = 20.0  # without a single answer this long something hangs
_EVENTS = 1024


@dataclass(slots=True)
class Sample:
    """What one measurement saw.

    Attributes:
        elapsed_s: how long it measured.
        latencies_s: of each answer, in the order of their arrival.
        cpu_s: what the generator itself used of a core meanwhile.
    """

    elapsed_s: float = 0.0
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Return the answers a second."""
        return len(self.latencies_s) / self.elapsed_s

    def quantile_ms(self, q: float) -> float:
        """Return a quantile of the latencies (nearest rank)."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1000


class Callers:
    """Connected callers and the epoll that watches them."""

    def __init__(self, address: Address, requests: Sequence[Request]) -> None:
        self._epoll = select.epoll()
        self.all = [Caller(address, request) for request in requests]
        self._by_fd = {caller.sock.fileno(): caller for caller in self.all}
        for fd in self._by_fd:
            self._epoll.register(fd, select.EPOLLIN)

    def wait(self, timeout_s: float) -> list[Caller]:
        """Return the callers that have something to read."""
        if 0 < timeout_s < SILENCE_S:
            # epoll sleeps whole milliseconds; select does not, and an epoll can be selected.
            select.select([self._epoll], [], [], timeout_s)
            timeout_s = 0
        return [self._by_fd[fd] for fd, _ in self._epoll.poll(timeout_s, _EVENTS)]

    def close(self) -> None:
        """Disconnect all."""
        self._epoll.close()
        for caller in self.all:
            caller.close()


@contextmanager
def callers(address: Address, requests: Sequence[Request]) -> Generator[Callers]:
    """Connect one caller a request; no garbage collection meanwhile, it would be measured."""
    gc.collect()
    gc.disable()
    connected = Callers(address, requests)
    try:
        yield connected
    finally:
        connected.close()
        gc.enable()


def closed_loop(
    address: Address, requests: Sequence[Request], *, seconds: float, warm_s: float
) -> Sample:
    """Let each caller call again and again; measure after a while, until the time is over."""
    sample = Sample()
    with callers(address, requests) as connected:
        now_s = time.perf_counter()
        begin_s = now_s + warm_s
        end_s = begin_s + seconds
        cpu_s = time.process_time()
        for caller in connected.all:
            caller.send(now_s)
        measuring = False
        while now_s < end_s:
            ready = _some(connected)
            now_s = time.perf_counter()
            if not measuring and now_s >= begin_s:
                measuring, begin_s, cpu_s = True, now_s, time.process_time()
            for caller in ready:
                if caller.receive():
                    now_s = time.perf_counter()
                    if measuring:
                        sample.latencies_s.append(now_s - caller.begun_s)
                    caller.send(now_s)
        sample.elapsed_s = now_s - begin_s
        sample.cpu_s = time.process_time() - cpu_s
        _drain(connected)
    return sample


def each_once(address: Address, requests: Sequence[Request], count: int) -> Sample:
    """Send each request once, over so many connections; measure until the last answer."""
    sample = Sample()
    waiting = deque(requests)
    with callers(address, [waiting.popleft() for _ in range(count)]) as connected:
        begin_s, cpu_s = time.perf_counter(), time.process_time()
        for caller in connected.all:
            caller.send(begin_s)
        while len(sample.latencies_s) < len(requests):
            for caller in _some(connected):
                if not caller.receive():
                    continue
                now_s = time.perf_counter()
                sample.latencies_s.append(now_s - caller.begun_s)
                if waiting:
                    caller.change(waiting.popleft())
                    caller.send(now_s)
        sample.elapsed_s = time.perf_counter() - begin_s
        sample.cpu_s = time.process_time() - cpu_s
    return sample


def open_loop(
    address: Address, requests: Sequence[Request], *, rate: float, seconds: float, warm_s: float
) -> Sample:
    """Let calls fall due at a fixed rate; those that find no free connection wait for one."""
    sample = Sample(elapsed_s=seconds)
    with callers(address, requests) as connected:
        idle = deque(connected.all)
        late: deque[float] = deque()
        begin_s, cpu_s = time.perf_counter(), time.process_time()
        total, due = int(rate * (warm_s + seconds)), 0
        answered = 0
        while answered < total:
            now_s = time.perf_counter()
            while due < total and begin_s + due / rate <= now_s:
                late.append(begin_s + due / rate)
                due += 1
            while late and idle:
                idle.popleft().send(late.popleft())
            if due == total:
                ready = _some(connected)
            else:
                ready = connected.wait(max(1e-6, begin_s + due / rate - time.perf_counter()))
            for caller in ready:
                if caller.receive():
                    answered += 1
                    idle.append(caller)
                    if caller.begun_s >= begin_s + warm_s:
                        sample.latencies_s.append(time.perf_counter() - caller.begun_s)
        sample.cpu_s = time.process_time() - cpu_s
    return sample


def _some(connected: Callers) -> list[Caller]:
    ready = connected.wait(SILENCE_S)
    if not ready:
        raise WrongAnswerError(f"no answer for {SILENCE_S:g} s")
    return ready


def _drain(connected: Callers) -> None:
    """Take the answers that are still due: a caller that leaves would cancel its task."""
    left = len(connected.all)
    while left:
        left -= sum(caller.receive() for caller in _some(connected))
