"""The example functions, called as an author's own tests would call them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator
from pathlib import Path
from typing import cast

import pytest

from shared.errors import InvalidParams
from tests.fakes.manual_clock import ManualClock
from tests.fakes.recording_channel import RecordingChannel
from worker.authoring import Context, Function, Kind, discover

EXAMPLES = Path(__file__).parents[3] / "examples"
FOUND = discover(EXAMPLES / "functions")


def example(name: str) -> Function[..., object]:
    """Return an example by name."""
    found = FOUND.functions.get(name)
    assert found is not None
    return found


def context(channel: RecordingChannel, attempt: int = 1, *, streaming: bool = False) -> Context:
    """Return a context for a call."""
    return Context(
        task_id="t-1", function="example", channel=channel, clock=ManualClock(), attempt=attempt,
        streaming=streaming,
    )  # fmt: skip


def start(
    name: str, value: dict[str, object], channel: RecordingChannel | None = None, attempt: int = 1
) -> object:
    """Check an input and call the example with it."""
    called = example(name)
    made = context(channel or RecordingChannel(), attempt, streaming=called.config.streaming)
    return called.start(called.check(value), made)


async def answer(
    name: str, value: dict[str, object], channel: RecordingChannel | None = None, attempt: int = 1
) -> object:
    """Return what a coroutine example answers to an input."""
    return await cast("Awaitable[object]", start(name, value, channel, attempt))


def test_every_example_is_documented_and_found() -> None:
    """Each has a docstring, and one is CPU-bound in a process of its own."""
    assert [each.name for each in FOUND.functions] == [
        "code_stats",
        "code_walk",
        "fail",
        "flaky",
        "hello",
        "hello_stream",
        "list_packages",
        "primes",
        "slow",
        "word_count",
    ]
    assert all(each.description.endswith(".") for each in FOUND.functions)
    assert [each.name for each in FOUND.functions if each.config.isolation == "process"] == [
        "primes"
    ]
    assert (list(FOUND.services), [each.name for each in FOUND.tags]) == (["clock"], ["python"])


async def test_hello_greets() -> None:
    """The shape that the documents show."""
    assert await answer("hello", {"name": "Ada"}) == {"message": "Hello Ada!"}
    assert await answer("hello", {}) == {"message": "Hello World!"}


async def test_hello_says_its_greeting_to_whoever_streams_it() -> None:
    """`cabrank submit hello name=Ada --mode stream` has something to show."""
    channel = RecordingChannel()
    await answer("hello", {"name": "Ada"}, channel)
    assert channel.pieces == ["Hello Ada!\n"]


async def test_hello_stream_yields_lines() -> None:
    """A line a piece."""
    pieces = cast("AsyncIterator[str]", start("hello_stream", {"name": "Ada", "times": 2}))
    assert [piece async for piece in pieces] == ["Hello Ada, 1 of 2!\n", "Hello Ada, 2 of 2!\n"]


def test_there_are_many_packages() -> None:
    """Modules and packages of the library, dotted when nested, none twice, none without source."""
    found = cast("list[str]", start("list_packages", {}))
    assert len(found) > 150
    assert found == sorted(set(found))
    assert {"json", "xml.dom", "os"} <= set(found)
    assert {"sys", "itertools", "site-packages"} & set(found) == set()
    assert start("list_packages", {"prefix": "js"}) == ["json"]


def test_code_stats_counts_what_ast_sees() -> None:
    """The numbers of a package whose shape has been stable for years."""
    channel = RecordingChannel()
    found = cast("dict[str, object]", start("code_stats", {"package": "json"}, channel))
    assert (found["package"], found["files"]) == ("json", 5)
    assert {"codecs", "re"} <= set(cast("list[str]", found["imports"]))
    assert cast("int", found["lines"]) > 1000
    assert cast("int", found["functions"]) > cast("int", found["classes"]) > 1
    longest = cast("dict[str, object]", found["longest_function"])
    assert (longest["name"], longest["file"]) == ("_make_iterencode", "json/encoder.py")
    assert [told.done for told in channel.told] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "package", ["nope", "../json", "json/decoder", "sys", "/etc", "json..x", ""]
)
def test_only_library_packages_are_read(package: str) -> None:
    """A path is no package, and a name says so clearly."""
    with pytest.raises(
        (ValueError, InvalidParams), match=r"standard library has no|Length of param"
    ):
        start("code_stats", {"package": package})


def test_code_stats_stops_when_it_is_cancelled() -> None:
    """A thread looks, since nobody can interrupt it."""
    channel = RecordingChannel()
    channel.cancelled = True
    with pytest.raises(RuntimeError, match="cancelled"):
        start("code_stats", {"package": "json"}, channel)
    assert channel.told == []


def test_code_walk_reports_file_by_file_and_sums_up() -> None:
    """Each piece is a file, the progress counts them, the return value is the sum."""
    channel = RecordingChannel()
    walk = cast(
        "Generator[dict[str, object], None, dict[str, object]]",
        start("code_walk", {"package": "xml"}, channel),
    )
    pieces: list[dict[str, object]] = []
    while True:
        try:
            pieces.append(next(walk))
        except StopIteration as end:
            total = cast("dict[str, object]", end.value)
            break
    assert len(pieces) == total["files"] == channel.told[-1].total
    assert sum(cast("int", piece["lines"]) for piece in pieces) == total["lines"]
    assert channel.told[-1].fraction == 1.0
    assert pieces[0]["file"] == "xml/__init__.py"


@pytest.mark.parametrize(
    ("below", "count", "largest"),
    [
        (2, 0, None),
        (3, 1, 2),
        (10, 4, 7),
        (11, 4, 7),
        (12, 5, 11),
        (100, 25, 97),
        (10000, 1229, 9973),
    ],
)
def test_primes_are_counted(below: int, count: int, largest: int | None) -> None:
    """Below means below; known counts of primes."""
    assert start("primes", {"below": below}) == {"below": below, "count": count, "largest": largest}


async def test_slow_sleeps_and_tells() -> None:
    """As long as it was told, here hardly at all; the label comes back."""
    channel = RecordingChannel()
    value: dict[str, object] = {"seconds": 0.001, "label": "x"}
    assert await answer("slow", value, channel) == {"slept": 0.001, "label": "x"}
    assert [(told.fraction, told.message) for told in channel.told] == [(1.0, "x")]


async def test_fail_fails_as_asked() -> None:
    """With the given message and class."""
    with pytest.raises(ValueError, match=r"^no luck$"):
        await answer("fail", {"message": "no luck", "error": "ValueError"})


@pytest.mark.parametrize("attempt", [1, 2])
async def test_flaky_fails_the_first_attempts(attempt: int) -> None:
    """Two by default, and its retries are enough for that."""
    assert example("flaky").config.max_retries >= 2
    with pytest.raises(RuntimeError, match=f"attempt {attempt} fails, as asked"):
        await answer("flaky", {}, attempt=attempt)
    assert await answer("flaky", {}, attempt=3) == {"attempt": 3}


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ({"text": "b a B"}, [("b", 2), ("a", 1)]),
        ({"text": "b a B", "options": {"ignore_case": False}}, [("B", 1), ("a", 1), ("b", 1)]),
        ({"text": "b a B", "top": 1}, [("b", 2)]),
        ({"text": "it's a test", "options": {"min_length": 2}}, [("it's", 1), ("test", 1)]),
        ({"text": "The the end", "options": {"stop_words": ["THE"]}}, [("end", 1)]),
        ({"text": ""}, []),
    ],
)
def test_words_are_counted(value: dict[str, object], counts: list[tuple[str, int]]) -> None:
    """Most frequent first, ties by the alphabet."""
    found = cast("list[object]", start("word_count", value))
    assert [(getattr(each, "word", None), getattr(each, "count", None)) for each in found] == counts


def test_word_count_checks_its_nested_options() -> None:
    """A mistyped option is refused by its path."""
    with pytest.raises(InvalidParams, match=r"Unexpected param: options\.min"):
        start("word_count", {"text": "a", "options": {"min": 1}})
    assert example("word_count").kind is Kind.THREAD
