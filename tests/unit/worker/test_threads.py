"""The pool of threads: one for each job that needs one, reused, and none that holds up the exit."""

from __future__ import annotations

import threading

import pytest

from tests.fakes.waiting import wait_until_sync
from worker.threads import ThreadPool


def test_every_job_gets_a_thread_at_once() -> None:
    """Jobs that wait for one another do not deadlock."""
    pool = ThreadPool()
    together = threading.Barrier(9)
    for _ in range(8):
        pool.submit(lambda: _wait(together))
    together.wait(10)
    assert pool.started == 8
    pool.close()


def test_a_thread_is_used_again() -> None:
    """The second job runs in the thread of the first."""
    pool = ThreadPool("reused")
    names: list[str] = []
    for expected in (1, 2):
        wait_until_sync(lambda: pool.idle or pool.started == 0, "the thread is idle")
        pool.submit(lambda: names.append(threading.current_thread().name))
        wait_until_sync(lambda n=expected: len(names) == n, "the job has run")
    assert names == ["reused-1", "reused-1"]
    pool.close()


def test_a_job_whose_thread_cannot_start_is_not_run_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its submitter was told that it does not run."""
    pool = ThreadPool("short")
    ran: list[str] = []

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            pool.submit(lambda: ran.append("refused"))
    pool.submit(lambda: ran.append("taken"))
    wait_until_sync(lambda: pool.idle == 1, "the thread is idle")
    assert ran == ["taken"]
    pool.close()


def test_closing_ends_idle_threads_and_leaves_stuck_ones_to_the_process() -> None:
    """Threads are daemons: a stuck one does not keep the process alive."""
    pool = ThreadPool("closing")
    door, entered = threading.Event(), threading.Event()
    pool.submit(lambda: _enter(entered, door))
    assert entered.wait(10)
    pool.submit(lambda: None)
    wait_until_sync(lambda: pool.idle == 1, "one is idle")
    pool.close()
    wait_until_sync(lambda: _names("closing") == ["closing-1"], "the idle one has ended")
    stuck = next(each for each in threading.enumerate() if each.name == "closing-1")
    assert stuck.daemon
    door.set()
    wait_until_sync(lambda: _names("closing") == [], "the other one ends after its job")


def _wait(together: threading.Barrier) -> None:
    together.wait(10)


def _enter(entered: threading.Event, door: threading.Event) -> None:
    entered.set()
    door.wait(10)


def _names(prefix: str) -> list[str]:
    return sorted(each.name for each in threading.enumerate() if each.name.startswith(prefix))
