"""The set-up of logs: where lines go, in which form, what never gets into them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

import pytest
import structlog

from shared.log import Log, LogRing, TaskLog, correlation_id, setup_logging
from shared.log_writer import FLUSH_S, MAX_BATCH
from shared.task_state import TERMINAL, TRANSITIONS, TaskEvent
from tests.fakes.waiting import wait_until

AT = "2026-01-02T03:04:05.000Z"
LANE = ("default", 1, "hello")


class Noon:
    """A clock that stands still."""

    def monotonic(self) -> float:
        """Return a fixed time."""
        return 0.0

    def utc_now(self) -> datetime:
        """Return a fixed time."""
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Undo what a test sets up for the whole process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    token = correlation_id.set("")
    yield
    correlation_id.reset(token)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    """The stream that lines are written to."""
    return io.StringIO()


def _written(out: io.StringIO) -> list[dict[str, object]]:
    return [cast("dict[str, object]", json.loads(line)) for line in out.getvalue().splitlines()]


def test_a_line_is_json_and_is_kept_in_the_ring(out: io.StringIO) -> None:
    """With its time, level, prefix and fields."""
    ring = setup_logging(Noon(), stream=out)
    Log("fleet").warning("Too late", worker="a:1", task_id="t-1", nothing="")
    assert _written(out) == [
        {
            "timestamp": AT, "level": "warn", "prefix": "fleet", "event": "Too late", "worker": "a:1",
            "task_id": "t-1", "nothing": "",
        }
    ]  # fmt: skip
    assert ring.lines() == [f"[{AT}] [WARN] [FLEET] Too late worker=a:1 task_id=t-1"]


def test_a_terminal_gets_a_console_s_lines() -> None:
    """Unless JSON is asked for."""
    terminal = Terminal()
    setup_logging(Noon(), stream=terminal)
    Log("fleet").info("Ready", worker="a:1")
    assert "Ready" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    setup_logging(Noon(), stream=terminal, as_json=True)
    Log("fleet").info("Steady")
    assert json.loads(terminal.getvalue().splitlines()[-1])["event"] == "Steady"


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)])
def test_what_is_below_the_level_is_neither_written_nor_kept(
    out: io.StringIO, level: str, lines: int
) -> None:
    """LOG_LEVEL rules both."""
    ring = setup_logging(Noon(), stream=out, level=level)
    log = Log("x")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert len(_written(out)) == len(ring.lines()) == lines


def test_an_event_of_the_catalogue_has_its_level_text_and_action(out: io.StringIO) -> None:
    """The same name in the line as in the catalogue."""
    setup_logging(Noon(), stream=out)
    Log("fleet").event("worker.down", worker="a:1", reason="Bearer abc")
    (line,) = _written(out)
    assert (line["level"], line["action"], line["event"], line["reason"]) == (
        "warn", "worker.down", "Worker a:1 is down: [redacted]", "[redacted]",
    )  # fmt: skip


def test_secrets_and_inputs_are_removed_before_anything_is_written(out: io.StringIO) -> None:
    """From fields, texts and tracebacks; an input is shown when its function says so."""
    ring = setup_logging(Noon(), stream=out)
    log = Log("x")
    log.info("got Bearer abcdef", auth_key="abcdef", input={"name": "Ada-abcdef"})
    log.info("allowed", input={"name": "Ada"}, log_input=True)
    try:
        raise ValueError("Bearer abcdef")
    except ValueError:
        log.exception("it failed")
    assert "abcdef" not in out.getvalue() + "".join(ring.lines())
    assert _written(out)[1]["input"] == {"name": "Ada"}
    assert "log_input" not in _written(out)[1]


def test_an_exception_has_its_traceback_in_the_stream_and_its_cause_in_the_ring(
    out: io.StringIO,
) -> None:
    """The ring has one line; local variables are in neither."""
    ring = setup_logging(Noon(), stream=out)

    hidden = "-".join(("local", "variable"))
    try:
        raise ValueError(f"boom {len(hidden)}")
    except ValueError as error:
        Log("x").exception("it failed", error)
    assert ring.lines() == [f"[{AT}] [ERROR] [X] it failed: ValueError: boom 14"]
    assert "Traceback" in str(_written(out)[0]["exception"])
    assert hidden not in out.getvalue()


def test_the_correlation_id_of_the_context_is_on_every_line(out: io.StringIO) -> None:
    """A line that names another keeps it."""
    ring = setup_logging(Noon(), stream=out)
    correlation_id.set("c-1")
    Log("x").info("a")
    Log("x").info("b", correlation_id="c-2")
    assert [line["correlation_id"] for line in _written(out)] == ["c-1", "c-2"]
    assert ring.lines()[0].endswith("a correlation_id=c-1")


def test_plain_structlog_loggers_take_the_same_way(out: io.StringIO) -> None:
    """Their name is the prefix."""
    logger = structlog.get_logger("worker")
    ring = setup_logging(Noon(), stream=out)
    logger.info("task ended", seconds=1)
    assert ring.lines() == [f"[{AT}] [INFO] [WORKER] task ended seconds=1"]


def test_the_standard_library_s_loggers_take_the_same_way(out: io.StringIO) -> None:
    """aiohttp and asyncio included; their level, text and traceback are kept."""
    ring = setup_logging(Noon(), stream=out)
    logging.getLogger("aiohttp.server").warning("odd %s", "request")
    logging.getLogger("aiohttp.server").debug("not shown")
    try:
        raise OSError("Bearer abcdef")
    except OSError:
        logging.getLogger("asyncio").exception("callback failed")
    assert ring.lines() == [
        f"[{AT}] [WARN] [AIOHTTP] odd request",
        f"[{AT}] [ERROR] [ASYNCIO] callback failed: OSError: [redacted]",
    ]


@pytest.mark.parametrize("as_json", [True, False])
def test_no_text_breaks_a_line_or_its_writer(
    as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File names that are no UTF-8 are shown escaped; nobody forges a line or colours a terminal."""
    terminal = Terminal()
    # Without pytest's own handler: what it keeps, xdist cannot send.
    monkeypatch.setattr(logging.root, "handlers", [])
    setup_logging(Noon(), stream=terminal, as_json=as_json)
    Log("x").info("lone \udcff\nforged \x1b[31m", path="/tmp/\udcff\nforged \x1b[31m")
    logging.getLogger("y").warning("lone %s", "\udcff\nforged \x1b[31m")
    written = terminal.getvalue()
    assert written.encode()
    assert written.count("\n") == 2
    assert "\x1b[31m" not in written
    assert "udcff" in written


class Closed(io.StringIO):
    """A stream whose reader has left."""

    def write(self, _text: str, /) -> int:
        """Refuse."""
        raise BrokenPipeError("nobody reads")


def test_a_stream_that_cannot_be_written_ends_nothing_but_the_line() -> None:
    """What was to be logged goes on; the ring has the line."""
    ring = setup_logging(Noon(), stream=Closed())
    Log("x").info("still alive")
    ring.task_line("task.succeeded", "t-1", function="f", seconds=1)
    assert len(ring.lines()) == 2


def test_setting_up_again_replaces_what_was_there(out: io.StringIO) -> None:
    """No line is written twice."""
    first = setup_logging(Noon(), stream=out)
    second = setup_logging(Noon(), stream=out)
    logging.getLogger("x").warning("once")
    assert (len(first.lines()), len(second.lines()), len(_written(out))) == (0, 1, 1)


async def test_task_lines_are_written_in_batches_off_the_path(out: io.StringIO) -> None:
    """Not where they happen, but soon after, redacted like all others."""
    ring = setup_logging(Noon(), stream=out)
    ring.task_line(
        "task.failed", "t-1", function="f", code="Bearer abc", seconds=1, correlation_id="c-1"
    )
    ring.task_line("task.succeeded", "t-2", function="f", seconds=1, correlation_id="")
    assert out.getvalue() == ""
    await wait_until(lambda: out.getvalue(), "the batch is written", timeout_s=20 * FLUSH_S)
    first, second = _written(out)
    assert first == {
        "timestamp": AT, "level": "warn", "prefix": "task", "event": "'f' failed after 1.000 s: [redacted]",
        "action": "task.failed", "task_id": "t-1", "function": "f", "code": "[redacted]", "seconds": 1,
        "correlation_id": "c-1",
    }  # fmt: skip
    assert "correlation_id" not in second


async def test_a_batch_is_bounded_and_says_what_it_left_out(out: io.StringIO) -> None:
    """Logs must not cost more than the tasks."""
    ring = setup_logging(Noon(), stream=out)
    for _ in range(MAX_BATCH + 7):
        ring.task_line("task.succeeded", "t-1", function="f", seconds=1)
    await wait_until(lambda: "log.skipped" in out.getvalue(), "it is told what was left out")
    lines = _written(out)
    assert len(lines) == MAX_BATCH + 1
    assert (lines[-1]["action"], lines[-1]["count"]) == ("log.skipped", 7)


async def test_what_is_left_out_again_is_told_again(out: io.StringIO) -> None:
    """Noted lines that nobody made an entry of count like all others."""
    ring = setup_logging(Noon(), stream=out)
    log = TaskLog(ring)
    for told in (1, 2):
        for _ in range(MAX_BATCH + told):
            log.ended("t-1", LANE, "succeeded", "ok", 1.0, "", 0.0)
        await wait_until(
            lambda told=told: out.getvalue().count("log.skipped") == told, "it is told"
        )
    counts = [line.get("count") for line in _written(out) if line["action"] == "log.skipped"]
    assert counts == [1, 2]
    assert out.getvalue().count("task.succeeded") == 2 * MAX_BATCH
    assert sum("succeeded" in line for line in ring.lines()) == 2 * MAX_BATCH + 3


def test_without_a_loop_task_lines_are_written_at_once(out: io.StringIO) -> None:
    """A command that runs no loop loses none."""
    ring = setup_logging(Noon(), stream=out)
    ring.task_line("task.succeeded", "t-1", function="f", seconds=1)
    assert len(_written(out)) == 1


async def test_a_console_gets_task_lines_in_its_form() -> None:
    """The same renderer for all."""
    terminal = Terminal()
    ring = setup_logging(Noon(), stream=terminal)
    ring.task_line("task.succeeded", "t-1", function="f", seconds=1)
    await wait_until(lambda: terminal.getvalue(), "the batch is written", timeout_s=20 * FLUSH_S)
    assert "'f' succeeded in 1.000 s" in terminal.getvalue()
    await asyncio.sleep(0)


@pytest.fixture
def noted(out: io.StringIO) -> tuple[TaskLog, LogRing]:
    """A task log whose ring keeps everything."""
    ring = setup_logging(Noon(), stream=out, level="debug")
    return TaskLog(ring), ring


def test_what_happens_to_a_task_is_noted_under_its_event(noted: tuple[TaskLog, LogRing]) -> None:
    """From its acceptance to its end, with its id and correlation id."""
    log, ring = noted
    log.accepted("t-1", LANE, "sync", "c-1")
    log.started("t-1", LANE, "a:1", 2, "c-1")
    log.changed("t-1", LANE, TaskEvent.RETRIED, "timeout", "c-1")
    log.ended("t-1", LANE, "failed", "function_error", 1.5, "c-1", 0.0)
    log.rejected("queue_full", "c-2")
    assert [line.partition("] [TASK] ")[2] for line in ring.lines()] == [
        "Task of 'hello' accepted, mode sync task_id=t-1 correlation_id=c-1",
        "Attempt 2 of 'hello' started on a:1 task_id=t-1 correlation_id=c-1",
        "Attempt of 'hello' failed with timeout, another follows task_id=t-1 correlation_id=c-1",
        "'hello' failed after 1.500 s: function_error task_id=t-1 correlation_id=c-1",
        "Task refused: queue_full correlation_id=c-2",
    ]


@pytest.mark.parametrize(
    "event", sorted({event for (_, event), new in TRANSITIONS.items() if new not in TERMINAL})
)
def test_every_event_that_ends_no_task_can_be_noted(
    noted: tuple[TaskLog, LogRing], event: str
) -> None:
    """A new transition needs its action."""
    log, ring = noted
    log.changed("t-1", LANE, event, "code")
    assert len(ring.lines()) == 1


@pytest.mark.parametrize(
    ("level", "detailed"), [("debug", True), ("info", False), ("error", False)]
)
def test_acceptance_and_start_are_details(level: str, detailed: bool) -> None:
    """Whoever would tell of them may ask first."""
    assert TaskLog(LogRing(Noon(), level=level)).detailed is detailed


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_every_end_can_be_noted(noted: tuple[TaskLog, LogRing], status: str) -> None:
    """A new terminal status needs its action."""
    log, ring = noted
    log.ended("t-1", LANE, status, "code", 1.0, "", 0.0)
    assert len(ring.lines()) == 1
