"""The three decorators of the authoring API: `@function`, `@service`, `@tags`.

Each is used bare or with settings. They only declare: nothing is registered anywhere, discovery
finds what they made in the namespace of a file, so importing a file twice or in a test does no harm.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, ParamSpec, TypeVar, overload

from worker.authoring.background import (
    DEFAULT_TAGS_INTERVAL_S,
    ServiceDefinition,
    TagSource,
    check_service,
    declare_tags,
)
from worker.authoring.signature import DeclarationError
from worker.authoring.task_function import Function, FunctionConfig, Isolation, Origin, declare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from worker.authoring.background import Service

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Service")

# Where `@service` leaves the definition on the class, so that the class stays an ordinary one.
SERVICE_ATTRIBUTE = "__cabrank_service__"


@overload
def function(handler: Callable[P, R], /) -> Function[P, R]: ...


@overload
def function(
    *,
    name: str | None = None,
    timeout_s: float | None = None,
    max_retries: int = 0,
    retry_delay_s: float = 1.0,
    streaming: bool | None = None,
    idempotent: bool = False,
    isolation: Isolation = "none",
    log_result: bool = True,
    log_input: bool = False,
) -> Callable[[Callable[P, R]], Function[P, R]]: ...


def function(
    handler: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    timeout_s: float | None = None,
    max_retries: int = 0,
    retry_delay_s: float = 1.0,
    streaming: bool | None = None,
    idempotent: bool = False,
    isolation: Isolation = "none",
    log_result: bool = True,
    log_input: bool = False,
) -> Function[P, R] | Callable[[Callable[P, R]], Function[P, R]]:
    """Declare a task function: `@function` or `@function(timeout_s=5, ...)`.

    Args:
        handler: the function, when used bare.
        name: as callers name it; None is its own name.
        timeout_s: limit of one run; None is the worker's DEFAULT_TIMEOUT.
        max_retries: attempts after the first, when it raises or times out.
        retry_delay_s: bound of the wait before the first retry; it doubles each time, with jitter.
        streaming: it may be called with mode `stream`. Generators may by default; a function that
            calls `ctx.stream()` must say so.
        idempotent: running it twice does no harm, so an attempt that was lost may run again.
        isolation: `process` runs it in a process of its own, which is killed at its time limit: for
            CPU-bound work and for code that cannot be cancelled. `Context` says what works there.
        log_result: the log shows results.
        log_input: the log shows inputs; off, since they may be secret.

    Raises:
        DeclarationError: the declaration cannot work; says why and where it is.
    """
    config = FunctionConfig(
        timeout_s=timeout_s,
        max_retries=max_retries,
        retry_delay_s=retry_delay_s,
        idempotent=idempotent,
        isolation=isolation,
        log_result=log_result,
        log_input=log_input,
    )

    def decorate(handler: Callable[P, R]) -> Function[P, R]:
        return declare(handler, name=name, streaming=streaming, config=config)

    return decorate if handler is None else decorate(handler)


@overload
def service(cls: type[S], /) -> type[S]: ...


@overload
def service(*, name: str | None = None) -> Callable[[type[S]], type[S]]: ...


def service(
    cls: type[S] | None = None, /, *, name: str | None = None
) -> type[S] | Callable[[type[S]], type[S]]:
    """Declare a class with `start`, `stop` and `status` a service of its worker.

    Args:
        cls: the class, when used bare. It is made without arguments.
        name: as `/health` shows it; None is the class's name in lower case.

    Raises:
        DeclarationError: a method is missing or no coroutine, or the class needs arguments.
    """

    def decorate(cls: type[S]) -> type[S]:
        setattr(cls, SERVICE_ATTRIBUTE, _service_definition(cls, name))
        return cls

    return decorate if cls is None else decorate(cls)


@overload
def tags(handler: Callable[[], Awaitable[Mapping[str, object]]], /) -> TagSource: ...


@overload
def tags(
    *, interval_s: float = DEFAULT_TAGS_INTERVAL_S
) -> Callable[[Callable[[], Awaitable[Mapping[str, object]]]], TagSource]: ...


def tags(
    handler: Callable[[], Awaitable[Mapping[str, object]]] | None = None,
    /,
    *,
    interval_s: float = DEFAULT_TAGS_INTERVAL_S,
) -> TagSource | Callable[[Callable[[], Awaitable[Mapping[str, object]]]], TagSource]:
    """Declare a coroutine function that tells facts about its worker.

    Args:
        handler: the function, when used bare.
        interval_s: seconds between two calls; a change is pushed at once.

    Raises:
        DeclarationError: it is no coroutine function, takes parameters, or the interval is too short.
    """

    def decorate(handler: Callable[[], Awaitable[Mapping[str, object]]]) -> TagSource:
        if not isinstance(handler, FunctionType):
            raise DeclarationError(
                f"@tags goes on a plain function, not on {type(handler).__name__}"
            )
        origin = Origin(handler.__code__.co_filename, handler.__code__.co_firstlineno)
        return declare_tags(handler, name=handler.__name__, interval_s=interval_s, origin=origin)

    return decorate if handler is None else decorate(handler)


def _service_definition(cls: type[S], name: str | None) -> ServiceDefinition:
    if not inspect.isclass(cls):
        raise DeclarationError(f"@service goes on a class, not on {type(cls).__name__}")
    name = cls.__name__.lower() if name is None else name
    origin = Origin(inspect.getsourcefile(cls) or "?", _line_of(cls))
    place = f"service '{name}' ({origin})"
    check_service(cls, name, place)
    required = [
        parameter.name
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise DeclarationError(
            f"{place}: it is made without arguments, but needs {', '.join(required)}"
        )
    return ServiceDefinition(
        name=name, description=inspect.getdoc(cls) or "", make=cls, origin=origin
    )


def _line_of(cls: type[object]) -> int:
    """Return the line of a method, the nearest thing to the class's own that a class remembers."""
    start: object = getattr(cls, "start", None)
    return start.__code__.co_firstlineno if isinstance(start, FunctionType) else 1
