"""Chapter 1: writing a function, and trying it without a fleet."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import ModuleType
from typing import Annotated, cast

import pytest
from pydantic import BaseModel, Field

from cabrank import Context, Function, FunctionError, InvalidParams, TaskTimeout, function
from tests.fakes.readme import readme_code
from worker.testing import Report, call, run, stream


class Address(BaseModel):
    """Where a letter goes."""

    street: str
    house: Annotated[int, Field(ge=1)]


@function
async def write_letter(to: Address, text: str = "Hello") -> dict[str, object]:
    """Write a letter."""
    return {"text": text, "house": to.house}


@function
def add(a: int, b: int) -> int:
    """Add in a thread: it may block."""
    return a + b


@function
def count(to: int) -> Iterator[int]:
    """Count in a thread, piece by piece."""
    yield from range(1, to + 1)


@function
async def spell(word: str) -> AsyncIterator[str]:
    """Spell on the event loop, piece by piece."""
    for letter in word:
        yield letter


@function
async def walk(steps: int, *, ctx: Context) -> str:
    """Tell how far it is."""
    for step in range(1, steps + 1):
        ctx.progress(step, steps)
    return f"attempt {ctx.attempt}"


@function
async def divide(a: int, b: int) -> float:
    """Fail like any Python code."""
    return a / b


@function(timeout_s=0.05)
async def think() -> None:
    """Take longer than it may."""
    await asyncio.Event().wait()


async def test_a_function_is_python_with_one_decorator() -> None:
    """`@function` on an `async def`, a `def` or a generator is all that makes a task of it."""
    assert await run(write_letter, to={"street": "Main", "house": 7}) == {
        "text": "Hello",
        "house": 7,
    }
    assert await run(add, a=1, b=2) == 3
    assert [piece async for piece in stream(spell, word="hi")] == ["h", "i"]
    assert [piece async for piece in stream(count, to=3)] == [1, 2, 3]


async def test_a_decorated_function_is_still_the_function() -> None:
    """Code of your own calls it as it was written, without checks and without a fleet."""
    assert add(1, 2) == 3
    assert await divide(1, 2) == 0.5


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "Missing required param: to"),
        ({"to": {"street": "Main", "house": 0}}, "Value for param: to.house must be >= 1"),
        (
            {"to": {"street": "Main", "house": "7"}},
            "Invalid type for param: to.house, expected number",
        ),
        ({"to": {"street": "Main", "house": 7}, "cc": "me"}, "Unexpected param: cc"),
    ],
)
async def test_type_hints_are_the_parameter_schema(given: dict[str, object], problem: str) -> None:
    """What does not fit is refused by the parameter's name, and the code does not run."""
    with pytest.raises(InvalidParams) as raised:
        await call(write_letter, given)
    assert raised.value.message == problem


async def test_a_context_tells_and_is_told() -> None:
    """A parameter of type `Context` is filled by the worker: ids, progress, stream, log, cancellation."""
    report = Report()
    assert await run(walk, steps=2, report=report) == "attempt 1"
    assert report.progress == [{"done": 1, "total": 2}, {"done": 2, "total": 2}]


async def test_what_a_function_raises_reaches_the_caller_as_a_message() -> None:
    """The caller gets the text and the type of the exception, never a traceback."""
    with pytest.raises(FunctionError) as raised:
        await run(divide, a=1, b=0)
    assert raised.value.message == "division by zero"
    assert raised.value.failure.error_type == "ZeroDivisionError"


async def test_a_function_has_a_time_limit() -> None:
    """It is told to stop when its `timeout_s` is over, and the caller gets `timeout`."""
    with pytest.raises(TaskTimeout):
        await run(think)


def executed(code: str) -> ModuleType:
    """Return a module made of a block of README.md, as if it were a file."""
    module = ModuleType("readme_block")
    # Annotations are looked up in the module of a function, so it has to be found there.
    sys.modules[module.__name__] = module
    try:
        exec(compile(code, "README.md", "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module


async def test_the_function_of_the_readme_does_what_it_says() -> None:
    """Defaults are filled in, bounds hold, progress is told."""
    resize = cast(
        "Function[..., object]", executed(readme_code("Writing a function", "python")).resize
    )
    report = Report()
    done = await run(resize, url="http://example.org/a.png", report=report)
    assert done == {"url": "http://example.org/a.png", "width": 800}
    assert report.progress == [{"done": 1, "total": 2, "message": "fetched"}]
    with pytest.raises(InvalidParams, match="width"):
        await run(resize, url="http://example.org/a.png", width=4001)


async def test_the_test_of_the_readme_passes() -> None:
    """A function is tested as any function is: no fleet, no mock, no port."""
    module = executed(readme_code("Writing a function", "python", 1))
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 1
    assert inspect.iscoroutinefunction(tests[0])
    await cast("Callable[[], Awaitable[None]]", tests[0])()
