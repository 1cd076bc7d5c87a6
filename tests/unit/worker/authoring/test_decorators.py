"""The decorators, as an author writes them: bare or with settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import cast

import pytest

from worker.authoring.background import ServiceDefinition
from worker.authoring.decorators import SERVICE_ATTRIBUTE, function, service, tags
from worker.authoring.signature import DeclarationError
from worker.authoring.task_function import FunctionConfig


@function
async def bare(name: str = "World") -> str:
    """Greet."""
    return f"Hello {name}!"


@function(
    name="other",
    timeout_s=5,
    max_retries=1,
    retry_delay_s=2,
    streaming=True,
    idempotent=True,
    isolation="process",
    log_result=False,
    log_input=True,
)
def with_settings(a: int) -> int:
    """Double."""
    return 2 * a


@service
class Bare:
    """Does nothing."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def status(self) -> object:
        return {"up": True}


@service(name="model-server")
class Named(Bare):
    """Inherits all three, and takes an optional argument."""

    def __init__(self, size: int = 3, *rest: object, **more: object) -> None:
        self.size = size


@tags
async def facts() -> dict[str, str]:
    return {"a": "b"}


@tags(interval_s=5)
async def timed_facts() -> dict[str, str]:
    return {"c": "d"}


async def test_function_is_used_bare() -> None:
    """Every setting has a default; the time limit is then the worker's."""
    assert (bare.name, bare.description, bare.config) == ("bare", "Greet.", FunctionConfig())
    assert bare.config.timeout_s is None
    assert await bare("Ada") == "Hello Ada!"


def test_function_is_used_with_settings() -> None:
    """Each setting reaches the configuration."""
    assert (with_settings.name, with_settings(a=4)) == ("other", 8)
    assert with_settings.config == FunctionConfig(
        timeout_s=5,
        max_retries=1,
        retry_delay_s=2,
        streaming=True,
        idempotent=True,
        isolation="process",
        log_result=False,
        log_input=True,
    )


async def test_service_leaves_the_class_as_it_is() -> None:
    """The definition hangs on the class; a subclass has its own."""
    definition = cast("ServiceDefinition", vars(Bare)[SERVICE_ATTRIBUTE])
    assert (definition.name, definition.description) == ("bare", "Does nothing.")
    assert inspect.isclass(Bare)
    assert isinstance(definition.make(), Bare)
    assert await definition.make().status() == {"up": True}
    named = cast("ServiceDefinition", vars(Named)[SERVICE_ATTRIBUTE])
    assert (named.name, type(named.make())) == ("model-server", Named)
    assert named.origin.file == __file__


def _service_of(source: str) -> Callable[[], object]:
    namespace: dict[str, object] = {"service": service, "__name__": __name__}
    return lambda: exec(source, namespace)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("async def start(self): ...\n async def stop(self): ...", "it needs `async def status`"),
        (
            "def start(self): ...\n async def stop(self): ...\n async def status(self): ...",
            "it needs `async def start`",
        ),
        (
            "def __init__(self, url): ...\n async def start(self): ...\n"
            " async def stop(self): ...\n async def status(self): ...",
            "it is made without arguments, but needs url",
        ),
    ],
)
def test_a_class_that_cannot_be_a_service_is_refused(body: str, text: str) -> None:
    """The error says what is missing."""
    with pytest.raises(DeclarationError, match=f"service 'broken' .*: {text}"):
        _service_of(f"@service\nclass Broken:\n {body}")()


def test_a_service_needs_a_plain_name_and_a_class() -> None:
    """Names stand in /health and in logs; an object would be shared by two starts."""
    with pytest.raises(DeclarationError, match="a name has at most 64 letters"):
        service(name="two words")(Bare)
    with pytest.raises(DeclarationError, match="@service goes on a class, not on function"):
        _service_of("@service\ndef broken(): ...")()


async def test_tags_are_used_bare_or_with_an_interval() -> None:
    """A source is still callable, so it can be tested."""
    assert (facts.name, facts.interval_s, await facts()) == ("facts", 30.0, {"a": "b"})
    assert (timed_facts.interval_s, await timed_facts()) == (5.0, {"c": "d"})
    assert facts.origin.file == __file__


async def with_parameter(a: int) -> Mapping[str, object]:
    return {"a": a}


def test_tags_that_cannot_work_are_refused() -> None:
    """They are called without arguments, on the loop, not too often."""
    decorate = cast("Callable[[object], object]", tags)
    with pytest.raises(DeclarationError, match="@tags goes on a plain function, not on str"):
        decorate("x")
    with pytest.raises(DeclarationError, match="tags come from an `async def`"):
        decorate(_service_of)
    with pytest.raises(DeclarationError, match="it takes no parameters"):
        decorate(with_parameter)
    for interval_s in (0, -1, float("nan"), True):
        with pytest.raises(DeclarationError, match="is not a number of seconds from"):
            tags(interval_s=interval_s)(facts.handler)
