"""What a declared function says about itself, and what it refuses to be."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import cast

import pytest

from tests.fakes.manual_clock import ManualClock
from tests.fakes.recording_channel import RecordingChannel
from worker.authoring.context import Context
from worker.authoring.signature import DeclarationError
from worker.authoring.task_function import Function, FunctionConfig, Kind, declare


async def hello(name: str = "World", *, ctx: Context) -> dict[str, str]:
    """Greets someone
    by name.

    With care.
    """
    return {"message": f"Hello {name} from {ctx.task_id}!"}


def add(a: int, b: int = 1) -> int:
    return a + b


async def tick(n: int) -> AsyncIterator[int]:
    yield n


def walk(n: int) -> Iterator[int]:
    yield n


def plain(
    handler: Callable[..., object],
    *,
    name: str | None = None,
    streaming: bool | None = None,
    config: FunctionConfig | None = None,
) -> Function[..., object]:
    """Declare with defaults."""
    return declare(handler, name=name, streaming=streaming, config=config or FunctionConfig())


@pytest.mark.parametrize(
    ("handler", "kind", "streaming"),
    [
        (hello, Kind.COROUTINE, False),
        (add, Kind.THREAD, False),
        (tick, Kind.ASYNC_GENERATOR, True),
        (walk, Kind.GENERATOR, True),
    ],
)
def test_the_kind_is_read_from_the_function(
    handler: Callable[..., object], kind: Kind, streaming: bool
) -> None:
    """Generators stream by default, others when they say so."""
    assert (plain(handler).kind, plain(handler).config.streaming) == (kind, streaming)
    assert plain(handler, streaming=True).config.streaming


def test_a_function_is_still_callable_and_looks_like_itself() -> None:
    """Authors test what they wrote; tools see its name, its docstring and its signature."""
    function = declare(add, name="sum", streaming=None, config=FunctionConfig())
    assert function(2, b=3) == 5
    assert (function.name, vars(function)["__name__"], function.__module__) == (
        "sum",
        "add",
        __name__,
    )
    assert inspect.signature(function) == inspect.signature(add)
    assert inspect.getdoc(plain(hello)) == inspect.getdoc(hello)


async def test_start_calls_it_with_checked_parameters_and_its_context() -> None:
    """The runner needs to know neither the names of parameters nor whether a context is wanted."""
    ctx = Context(task_id="t-1", function="hello", channel=RecordingChannel(), clock=ManualClock())
    greet, total = plain(hello), plain(add)
    assert (greet.context_param, greet.wants_context) == ("ctx", True)
    assert (total.context_param, total.wants_context) == (None, False)
    running = greet.start(greet.check(b"{}"), ctx)
    assert inspect.iscoroutine(running)
    assert await running == {"message": "Hello World from t-1!"}
    assert total.start(total.check(b'{"a": 2}'), ctx) == 3


def test_the_spec_is_what_a_worker_announces() -> None:
    """`functions[]` of /health: name, first paragraph, parameters, settings."""
    config = FunctionConfig(
        timeout_s=5, max_retries=2, retry_delay_s=0.5, idempotent=True, log_input=True
    )
    spec = plain(hello, name="demo:hello", streaming=True, config=config).spec()
    assert spec.wire() == {
        "name": "demo:hello",
        "kind": "function",
        "description": "Greets someone by name.",
        "params": {"name": {"type": "string", "default": "World"}},
        "inputSchema": {
            "type": "object",
            "properties": {"name": {"type": "string", "default": "World"}},
            "additionalProperties": False,
        },
        "config": {
            "timeout": 5,
            "retries": 2,
            "retryDelay": 0.5,
            "supportsStreaming": True,
            "idempotent": True,
        },
    }
    assert plain(add).spec().description == ""


def test_the_origin_says_file_and_line() -> None:
    """So errors can point at the declaration."""
    origin = plain(add).origin
    assert (origin.file, origin.line) == (__file__, add.__code__.co_firstlineno)
    assert str(origin) == f"{__file__}:{origin.line}"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"timeout_s": 0}, "timeout_s=0 is not a number of seconds above 0, or None"),
        ({"timeout_s": -1.5}, "timeout_s=-1.5 is not"),
        ({"timeout_s": float("nan")}, "timeout_s=nan is not"),
        ({"timeout_s": "5"}, "timeout_s='5' is not"),
        ({"timeout_s": True}, "timeout_s=True is not"),
        ({"max_retries": -1}, "max_retries=-1 is not an integer from 0 to 100"),
        ({"max_retries": 101}, "max_retries=101 is not"),
        ({"max_retries": 1.0}, r"max_retries=1\.0 is not"),
        ({"retry_delay_s": 0}, "retry_delay_s=0 is not a number of seconds above 0"),
        ({"isolation": "thread"}, 'isolation=\'thread\' is not "none" or "process"'),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], text: str) -> None:
    """The error names function, file, setting, value and what is expected."""
    make = cast("Callable[..., FunctionConfig]", FunctionConfig)
    with pytest.raises(
        DeclarationError, match=rf"function 'add' \(.*test_task_function.py:\d+\): {text}"
    ):
        plain(add, config=make(**settings))


@pytest.mark.parametrize("name", ["", "1st", "two words", "a/b", "x" * 129, "naïve"])
def test_names_are_plain(name: str) -> None:
    """A name can stand in a log line, a URL and a metric."""
    with pytest.raises(DeclarationError, match="a name begins with a letter"):
        plain(add, name=name)


def test_what_is_no_plain_function_is_refused() -> None:
    """Classes, partials and other callables have no place of declaration to tell."""
    for wrong in (int, partial(add, 1), plain(add)):
        with pytest.raises(DeclarationError, match=f"not on {type(wrong).__name__}"):
            plain(wrong)
    with pytest.raises(DeclarationError, match="a name begins with a letter"):
        plain(lambda: None)


def test_a_generator_cannot_refuse_to_stream() -> None:
    """Its pieces would have nowhere to go."""
    with pytest.raises(DeclarationError, match="it yields, so it streams"):
        plain(walk, streaming=False)


def test_an_isolated_function_must_be_found_again_by_its_file() -> None:
    """The other process imports the file; what a function makes at run time is not there."""

    def inner() -> None: ...

    config = FunctionConfig(isolation="process")
    with pytest.raises(DeclarationError, match="must stand at the top level of its file"):
        plain(inner, config=config)
    assert plain(add, config=config).config.isolation == "process"
