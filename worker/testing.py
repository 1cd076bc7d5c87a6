"""A kit for authors: run a task function with all that a worker does around it, without a balancer.

    from worker.testing import run, stream

    async def test_hello() -> None:
        assert await run(hello, name="Ada") == {"greeting": "Hello, Ada"}
        assert [piece async for piece in stream(count, to=3)] == ["1", "2", "3"]

Parameters are checked, defaults filled in, the context wired, the result goes through JSON, time
limits hold, isolation gets its process. Errors are the fleet's own: `InvalidParams`, `FunctionError`,
`TaskTimeout`, `TaskCancelled` from `shared.errors`. Cancelling the awaiting task cancels the function.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import msgspec

from shared.errors import error_of, failure
from shared.ids import TaskId
from shared.system import SystemClock, SystemIds, system_chance
from shared.task import Mode, PieceKind, TaskRequest
from worker.authoring.registry import Registry
from worker.engine import EngineSettings, WorkerEngine
from worker.outcome import encode_json
from worker.processes import ProcessPool
from worker.runner import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from shared.task import Outcome, Piece
    from worker.authoring.task_function import Function

DEFAULT_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Report:
    """What a function told on its way, filled by `run` and `stream` when one is given.

    Attributes:
        pieces: what it streamed: text, bytes or JSON values.
        progress: what it told with `ctx.progress`, as JSON objects.
        result: what it returned, as JSON.
    """

    pieces: list[object] = field(default_factory=list[object])
    progress: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    result: object = None


async def run(
    function: Function[..., object],
    /,
    *,
    timeout_s: float | None = None,
    metadata: Mapping[str, object] | None = None,
    report: Report | None = None,
    **params: object,
) -> object:
    """Call a function as a sync task does and return its result as the caller would see it: as JSON.

    Args:
        function: what `@function` made.
        timeout_s: limit of the run, instead of the function's own.
        metadata: what `ctx.metadata` says.
        report: is filled with what the function told on its way.
        params: the input; use `call` for parameters named like an argument of this function.

    Raises:
        CabrankError: what a caller would get.
    """
    return await call(function, params, timeout_s=timeout_s, metadata=metadata, report=report)


async def call(
    function: Function[..., object],
    params: Mapping[str, object],
    *,
    timeout_s: float | None = None,
    metadata: Mapping[str, object] | None = None,
    report: Report | None = None,
) -> object:
    """Do what `run` does, with the input as one mapping."""
    kept = Report() if report is None else report
    request = _request(function, params, timeout_s, metadata)
    async with _submitted(function, request) as sink:
        while not isinstance(item := await sink.next(), _End):
            _keep(item, kept)
            sink.consumed(item)
        kept.result = _result_of(item.outcome)
        return kept.result


async def stream(
    function: Function[..., object],
    /,
    *,
    timeout_s: float | None = None,
    metadata: Mapping[str, object] | None = None,
    report: Report | None = None,
    **params: object,
) -> AsyncGenerator[object, None]:
    """Call a function as a stream task does and yield its pieces: text, bytes or JSON values.

    A piece is granted when the next one is asked for, so a slow reader slows the function down.
    Leaving the loop early cancels the function; close the generator (`contextlib.aclosing`) to wait
    for that.

    Raises:
        CabrankError: what a caller would get, also when the function is not declared to stream.
    """
    if not function.config.streaming:
        text = f"Function '{function.name}' does not support streaming"
        raise error_of(failure("streaming_not_supported", text))
    kept = Report() if report is None else report
    request = _request(function, params, timeout_s, metadata)
    async with _submitted(function, request) as sink:
        while not isinstance(item := await sink.next(), _End):
            value = _keep(item, kept)
            if item.kind is not PieceKind.PROGRESS:
                yield value
            sink.consumed(item)
        kept.result = _result_of(item.outcome)


@dataclass(slots=True)
class _End:
    outcome: Outcome


class _QueueSink:
    """Takes pieces and the end, for one reader."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[Piece | _End] = asyncio.Queue()  # bounded by the stream's credit
        self._engine: WorkerEngine | None = None
        self._task_id = TaskId("")

    def read_from(self, engine: WorkerEngine, task_id: TaskId) -> None:
        self._engine = engine
        self._task_id = task_id

    def piece(self, piece: Piece) -> None:
        self._items.put_nowait(piece)

    def finished(self, outcome: Outcome) -> None:
        self._items.put_nowait(_End(outcome))

    async def next(self) -> Piece | _End:
        return await self._items.get()

    def consumed(self, piece: Piece) -> None:
        if self._engine is not None:
            self._engine.grant(self._task_id, len(piece.data))


@asynccontextmanager
async def _submitted(
    function: Function[..., object], request: TaskRequest
) -> AsyncGenerator[_QueueSink]:
    """Run a task in a worker of one slot that is made for it."""
    clock, ids = SystemClock(), SystemIds()
    processes = ProcessPool(clock, [function], warm=0)
    settings = EngineSettings(limit=1, default_timeout_s=DEFAULT_TIMEOUT_S, shutdown_grace_s=1.0)
    runner = Runner(clock, processes)
    engine = WorkerEngine(settings, Registry([function]), runner, clock, ids, system_chance())
    engine.start()
    sink = _QueueSink()
    task_id = TaskId(ids.next_id())
    sink.read_from(engine, task_id)
    try:
        engine.submit(request, sink, task_id)
        yield sink
    finally:
        engine.cancel(task_id)
        await engine.close()


def _request(
    function: Function[..., object],
    params: Mapping[str, object],
    timeout_s: float | None,
    metadata: Mapping[str, object] | None,
) -> TaskRequest:
    return TaskRequest(
        function=function.name,
        contract=1,
        input=encode_json(dict(params)),
        mode=Mode.STREAM,  # so that what the function tells on its way can be reported
        timeout_s=timeout_s,
        max_attempts=1,
        metadata=None if metadata is None else encode_json(dict(metadata)),
    )


def _keep(piece: Piece, report: Report) -> object:
    """Add a piece to the report and return it as a value."""
    if piece.kind is PieceKind.TEXT:
        value: object = piece.data.decode()
    elif piece.kind is PieceKind.BYTES:
        value = piece.data
    else:
        value = msgspec.json.decode(piece.data)
    if piece.kind is PieceKind.PROGRESS:
        report.progress.append(cast("dict[str, object]", value))
    else:
        report.pieces.append(value)
    return value


def _result_of(outcome: Outcome) -> object:
    if outcome.failure is not None:
        raise error_of(outcome.failure)
    return None if outcome.result is None else msgspec.json.decode(outcome.result)
