"""The functions that a worker hosts, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.authoring.signature import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shared.capability import FunctionSpec
    from worker.authoring.task_function import Function


class Registry:
    """Functions by name; iterates in the order of their names.

    Args:
        functions: hosted from the start.

    Attributes:
        get: returns the function of a name; None when there is none.
    """

    __slots__ = ("_functions", "get")

    def __init__(self, functions: Iterable[Function[..., object]] = ()) -> None:
        self._functions: dict[str, Function[..., object]] = {}
        self.get: Callable[[str], Function[..., object] | None] = self._functions.get
        for function in functions:
            self.add(function)

    def add(self, function: Function[..., object]) -> None:
        """Host a function; the same one twice is once.

        Raises:
            DeclarationError: another function has its name; says where both are.
        """
        other = self._functions.setdefault(function.name, function)
        if other is not function:
            raise DeclarationError(
                f"two functions are called '{function.name}': {other.origin} and {function.origin}"
            )

    def specs(self) -> list[FunctionSpec]:
        """Return the functions as the worker announces them: in `/health`, `/openapi`, on the link."""
        return [function.spec() for function in self]

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __iter__(self) -> Iterator[Function[..., object]]:
        return (self._functions[name] for name in sorted(self._functions))

    def __len__(self) -> int:
        return len(self._functions)
