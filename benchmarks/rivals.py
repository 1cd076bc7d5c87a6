"""The task queues that the durable mode is compared with: one worker process each, Redis in memory."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Child
from tests.fakes.redis_server import redis_process, shipped_binary

FOLDER = Path(__file__).parent
QUEUES = FOLDER / "queues"
DRAIN_S = 120.0
POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Rival:
    """One task queue.

    Attributes:
        name: as the table shows it, with what its producer is.
        module: of benchmarks/queues.
        command: of its worker, in its own venv.
        at_once: concurrent callers of an asynchronous producer; 0 for a plain loop.
    """

    name: str
    module: str
    command: tuple[str, ...]
    at_once: int = 0

    @property
    def venv(self) -> Path:
        """Return its virtual environment, which `make bench` makes."""
        return FOLDER / ".venv" / self.module.removeprefix("on_")


RIVALS = (
    Rival(
        "Celery",
        "on_celery",
        ("celery", "-A", "on_celery", "worker", "--pool", "solo", "--loglevel", "warning",
         "--without-gossip", "--without-mingle", "--without-heartbeat"),
    ),
    Rival("Dramatiq", "on_dramatiq", ("dramatiq", "on_dramatiq", "-p", "1", "-t", "16")),
    Rival(
        "Taskiq",
        "on_taskiq",
        ("taskiq", "worker", "on_taskiq:broker", "--workers", "1", "--max-async-tasks", "256",
         "--log-level", "WARNING"),
        at_once=64,
    ),
    Rival("arq", "on_arq", ("arq", "on_arq.WorkerSettings"), at_once=64),
)  # fmt: skip


class Running:
    """A rival's worker that has run its first task.

    Args:
        rival: which.
        redis_url: an empty database.
        folder: for the file that counts runs.
    """

    def __init__(self, rival: Rival, redis_url: str, folder: Path) -> None:
        self._rival = rival
        self._done = folder / f"{rival.module}.done"
        self._done.touch()
        self._environment = {"REDIS_URL": redis_url, "DONE_FILE": str(self._done)}
        program, *rest = rival.command
        command = [str(rival.venv / "bin" / program), *rest]
        self.worker = Child(rival.name, command, self._environment, folder=QUEUES)

    def turn(self, count: int) -> tuple[float, float]:
        """Hand in so many tasks; return how many were accepted, and were done, a second."""
        before = self._runs
        python = str(self._rival.venv / "bin" / "python")
        command = [python, f"{self._rival.module}.py", str(count), str(self._rival.at_once)]
        with Child(
            f"producer of {self._rival.name}", command, self._environment, folder=QUEUES
        ) as it:
            told = json.loads(it.wait(DRAIN_S).strip().splitlines()[-1])
        late_s = time.monotonic() + DRAIN_S
        while (runs := self._runs - before) < count + 1:  # and the one that connects
            if time.monotonic() > late_s:
                raise TimeoutError(
                    f"{self._rival.name} ran {runs} of {count}:\n{self.worker.output}"
                )
            time.sleep(POLL_S)
        # The file knows when its last byte came, however late we look.
        ended_s = self._done.stat().st_mtime - time.time() + time.monotonic()
        return count / told["took_s"], count / (ended_s - told["began_s"])

    @property
    def _runs(self) -> int:
        return self._done.stat().st_size

    def end(self) -> None:
        """End its worker."""
        self.worker.end()


@contextmanager
def redis() -> Generator[str]:
    """Run a Redis without persistence; return its URL, to which a database's number is added."""
    binary = shutil.which("redis-server") or shipped_binary()
    with redis_process(binary, "bench", ("--appendonly", "no")) as server:
        yield server.url.rpartition("/")[0]


def installed() -> tuple[list[Rival], list[Rival]]:
    """Return which are installed, and which are not."""
    there = [rival for rival in RIVALS if (rival.venv / ".installed").exists()]
    return there, [rival for rival in RIVALS if rival not in there]
