"""What a worker runs beside its tasks: services, which must be up, and tags, which tell facts.

A service is a class with `start`, `stop` and `status` marked by `@service`, or a file in `services/`
that has three functions of these names. While one is down the worker gives no slot (contract §4).
Tags come from `async def tags()` in a file of `tags/`, or from functions marked by `@tags`.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from worker.authoring.signature import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from worker.authoring.task_function import Origin

DEFAULT_TAGS_INTERVAL_S = 30.0
MIN_TAGS_INTERVAL_S = 0.1  # each round may wake every balancer of the worker

SERVICE_METHODS = ("start", "stop", "status")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@runtime_checkable
class Service(Protocol):
    """Something that must run for the worker to be of use: a browser, a model server, a pool.

    The worker calls `start` once, then `status` on a timer, then `stop` once. A service that is
    down is stopped and started again after a growing wait; each start is made on a new object when
    the service is a class.
    """

    async def start(self) -> None:
        """Start; return when the service can be used, raise when it cannot."""
        ...

    async def stop(self) -> None:
        """Stop and free everything; also called after a failed `start` and when it is down."""
        ...

    async def status(self) -> object:
        """Return what `/health` shows as its state (a JSON value); False, or raising, is down."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefinition:
    """A service that a worker is to run.

    Attributes:
        name: as `/health` shows it.
        description: the docstring; "" without one.
        make: returns the service, to be started.
        origin: where it is declared.
    """

    name: str
    description: str
    make: Callable[[], Service]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSource:
    """A function that tells facts about its worker. Calling it calls the function.

    Attributes:
        name: as logs name it.
        handler: the plain coroutine function.
        interval_s: seconds between two calls.
        origin: where it is declared.
    """

    name: str
    handler: Callable[[], Awaitable[Mapping[str, object]]]
    interval_s: float
    origin: Origin

    def __call__(self) -> Awaitable[Mapping[str, object]]:
        """Call the plain function."""
        return self.handler()


def check_service(candidate: object, name: str, place: str) -> None:
    """Refuse what cannot be a service.

    Args:
        candidate: the class, or the module.
        name: the service's name.
        place: names it in errors.

    Raises:
        DeclarationError: a method is missing or no coroutine, or the name cannot be shown.
    """
    if not _NAME.fullmatch(name):
        raise DeclarationError(f"{place}: a name has at most 64 letters, digits and _ . -")
    for method in SERVICE_METHODS:
        if not inspect.iscoroutinefunction(getattr(candidate, method, None)):
            raise DeclarationError(f"{place}: it needs `async def {method}`")


def declare_tags(
    handler: Callable[[], Awaitable[Mapping[str, object]]],
    *,
    name: str,
    interval_s: float,
    origin: Origin,
) -> TagSource:
    """Make the `TagSource` of a plain coroutine function.

    Raises:
        DeclarationError: it is no coroutine function, takes parameters, or the interval is too short.
    """
    place = f"tags '{name}' ({origin})"
    if not inspect.iscoroutinefunction(handler):
        raise DeclarationError(f"{place}: tags come from an `async def`")
    if inspect.signature(handler).parameters:
        raise DeclarationError(f"{place}: it takes no parameters")
    if isinstance(interval_s, bool) or not interval_s >= MIN_TAGS_INTERVAL_S:
        raise DeclarationError(
            f"{place}: interval_s={interval_s!r} is not a number of seconds from {MIN_TAGS_INTERVAL_S} on"
        )
    return TagSource(name=name, handler=handler, interval_s=float(interval_s), origin=origin)
