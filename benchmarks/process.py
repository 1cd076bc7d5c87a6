"""Child processes: started with a quiet environment, ready when they say so, ended by their own id."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.caller import Address

START_S = 20.0
STOP_S = 10.0
POLL_S = 0.02
_URL = re.compile(r"listening on http://([0-9.]+):([0-9]+)")


class ChildError(Exception):
    """A child did not come up."""


class Child:
    """One process and what it prints, in a folder of its own that goes with it.

    Args:
        name: for messages.
        command: to run.
        environment: added to the little that every child gets; nothing else is inherited.
        folder: where it runs; None for one of its own.
        fds: descriptors that it inherits.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
        fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._own = tempfile.TemporaryDirectory(prefix="cabrank-bench-")
        self._output = Path(self._own.name) / "output.txt"
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder or self._own.name,
                env={**inherited, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
            )
        self._seen = psutil.Process(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.end()

    @property
    def output(self) -> str:
        """Return what it has printed so far."""
        return self._output.read_text(errors="replace")

    @property
    def cpu_s(self) -> float:
        """Return the seconds of a core that it and its children have used."""
        total = 0.0
        for each in (self._seen, *self._seen.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
        return total

    @property
    def rss_bytes(self) -> int:
        """Return its resident memory."""
        return int(self._seen.memory_info().rss)

    def address(self) -> Address:
        """Wait until it says where it listens."""
        found = _URL.search(self.until(_URL.pattern))
        assert found is not None
        return found[1], int(found[2])

    def until(self, pattern: str, timeout_s: float = START_S) -> str:
        """Wait until its output matches; return the output.

        Raises:
            ChildError: it ended, or took too long.
        """
        late_s = time.monotonic() + timeout_s
        while not re.search(pattern, text := self.output):
            if self.process.poll() is not None or time.monotonic() > late_s:
                raise ChildError(f"{self.name} did not come up:\n{text[-2000:]}")
            time.sleep(POLL_S)
        return text

    def wait(self, timeout_s: float) -> str:
        """Wait until it ends by itself; return its output.

        Raises:
            ChildError: it failed, or took too long.
        """
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise ChildError(
                f"{self.name} took more than {timeout_s:g} s:\n{self.output[-2000:]}"
            ) from exc
        if code:
            raise ChildError(f"{self.name} ended with {code}:\n{self.output[-2000:]}")
        return self.output

    def end(self) -> None:
        """End it, and what it started, by their ids."""
        try:
            family = [*self._seen.children(recursive=True), self._seen]
        except psutil.NoSuchProcess:
            family = []
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for each in family:
                if each.is_running():  # compares the start time too: never a stranger's process
                    each.kill()
            self.process.wait()
        self._own.cleanup()
