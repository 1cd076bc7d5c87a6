"""`Function`: what a decorated function becomes, and what the runner reads to run it."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING, Generic, Literal, ParamSpec, TypeVar, cast, get_args

from shared.capability import FunctionSpec
from worker.authoring.signature import DeclarationError, read_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.authoring.context import Context
    from worker.authoring.signature import Signature

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Isolation = Literal["none", "process"]

MAX_RETRIES = 100  # more is a loop, not a retry
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


class Kind(StrEnum):
    """How a function is run."""

    COROUTINE = "coroutine"  # `async def`: a task of the worker's loop
    THREAD = "thread"  # `def`: a thread of the worker's pool
    ASYNC_GENERATOR = "async_generator"  # `async def` with yield: each yield is a piece
    GENERATOR = "generator"  # `def` with yield: a thread, each yield is a piece


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionConfig:
    """How a function wants to be run (contract §4).

    Attributes:
        timeout_s: limit of one run; None is the worker's DEFAULT_TIMEOUT.
        max_retries: attempts after the first, when it raises or times out.
        retry_delay_s: bound of the wait before the first retry; it doubles each time, with jitter.
        streaming: it may be called with mode `stream`.
        idempotent: running it twice does no harm, so an attempt that was lost may run again.
        isolation: `process` runs it in a process of its own, which is killed at its time limit.
        log_result: the log shows results.
        log_input: the log shows inputs; off, since they may be secret.
    """

    timeout_s: float | None = None
    max_retries: int = 0
    retry_delay_s: float = 1.0
    streaming: bool = False
    idempotent: bool = False
    isolation: Isolation = "none"
    log_result: bool = True
    log_input: bool = False

    def check(self, place: str) -> None:
        """Refuse values that cannot work.

        Raises:
            DeclarationError: names the place, the setting, its value and what is expected.
        """
        rules = (
            ("timeout_s", "a number of seconds above 0, or None", _is_limit(self.timeout_s)),
            ("max_retries", f"an integer from 0 to {MAX_RETRIES}", _is_count(self.max_retries)),
            ("retry_delay_s", "a number of seconds above 0", _is_seconds(self.retry_delay_s)),
            ("isolation", '"none" or "process"', self.isolation in get_args(Isolation)),
        )
        for name, expected, holds in rules:
            if not holds:
                value: object = getattr(self, name)
                raise DeclarationError(f"{place}: {name}={value!r} is not {expected}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something is declared.

    Attributes:
        file: path of the source file; a child process loads the function from it again.
        line: of the declaration, from 1.
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Function(Generic[P, R_co]):
    """A function that a worker hosts. Calling it calls the plain function, so it can be unit-tested.

    Attributes:
        name: as callers name it.
        description: the docstring; "" without one.
        kind: how it is run.
        config: how it wants to be run.
        signature: what it takes.
        origin: where it is declared.
        handler: the plain function.
    """

    name: str
    description: str
    kind: Kind
    config: FunctionConfig
    signature: Signature
    origin: Origin
    handler: Callable[P, R_co]

    def __post_init__(self) -> None:
        """Look like the plain function to `help()`, `inspect.signature()` and documentation tools."""
        handler = cast("FunctionType", self.handler)
        vars(self).update(
            __doc__=handler.__doc__,
            __module__=handler.__module__,
            __name__=handler.__name__,
            __qualname__=handler.__qualname__,
            __wrapped__=handler,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the plain function, without any check of its parameters."""
        return self.handler(*args, **kwargs)

    @property
    def context_param(self) -> str | None:
        """Return the name of the parameter that takes the `Context`; None when there is none."""
        return self.signature.context_param

    @cached_property
    def wants_context(self) -> bool:
        """Tell whether the function takes a `Context`."""
        return self.signature.context_param is not None

    def check(self, raw: bytes | Mapping[str, object] | None) -> dict[str, object]:
        """Return the checked parameters of an input (`ParamChecker.check`)."""
        return self.signature.checker.check(raw)

    def start(self, values: Mapping[str, object], context: Context | None = None) -> object:
        """Call the plain function with checked parameters.

        Args:
            values: what `check` returned.
            context: handed over when the function wants one.

        Returns:
            A coroutine, an async generator, a generator or the result, as `kind` says.
        """
        handler = cast("Callable[..., object]", self.handler)
        param = self.signature.context_param
        return handler(**values) if param is None else handler(**values, **{param: context})

    def spec(self) -> FunctionSpec:
        """Return the function as a worker announces it."""
        return FunctionSpec(
            name=self.name,
            description=" ".join(self.description.partition("\n\n")[0].split()),
            params=self.signature.params,
            input_schema=self.signature.input_schema,
            timeout_s=self.config.timeout_s,
            max_retries=self.config.max_retries,
            retry_delay_s=self.config.retry_delay_s,
            streaming=self.config.streaming,
            idempotent=self.config.idempotent,
        )


def declare(
    handler: Callable[P, R_co], *, name: str | None, streaming: bool | None, config: FunctionConfig
) -> Function[P, R_co]:
    """Make the `Function` of a plain function.

    Args:
        handler: the plain function.
        name: as callers name it; None is its own name.
        streaming: may be called with mode `stream`; None means that generators may.
        config: the rest of its settings; its `streaming` is overwritten.

    Raises:
        DeclarationError: it cannot be a task function; says why and where it is.
    """
    if not isinstance(handler, FunctionType):
        raise DeclarationError(
            f"@function goes on a plain function, not on {type(handler).__name__}"
        )
    origin = Origin(handler.__code__.co_filename, handler.__code__.co_firstlineno)
    name = handler.__name__ if name is None else name
    place = f"function '{name}' ({origin})"
    if not _NAME.fullmatch(name):
        raise DeclarationError(
            f"{place}: a name begins with a letter and has at most 128 letters, digits and _ . : -"
        )
    kind = _kind(handler)
    generates = kind in (Kind.ASYNC_GENERATOR, Kind.GENERATOR)
    if generates and streaming is False:
        raise DeclarationError(
            f"{place}: it yields, so it streams; drop streaming=False or the yield"
        )
    config.check(place)
    if config.isolation == "process" and "<locals>" in handler.__qualname__:
        raise DeclarationError(
            f'{place}: with isolation="process" it must stand at the top level of its file'
        )
    return Function(
        name=name,
        description=inspect.getdoc(handler) or "",
        kind=kind,
        config=replace(config, streaming=generates if streaming is None else streaming),
        signature=read_signature(handler, place),
        origin=origin,
        handler=handler,
    )


def _kind(handler: FunctionType) -> Kind:
    if inspect.isasyncgenfunction(handler):
        return Kind.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(handler):
        return Kind.GENERATOR
    return Kind.COROUTINE if inspect.iscoroutinefunction(handler) else Kind.THREAD


def _is_seconds(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value > 0
    )


def _is_limit(value: object) -> bool:
    return value is None or _is_seconds(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_RETRIES
