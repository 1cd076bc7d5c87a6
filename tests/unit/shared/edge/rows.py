"""Bodies and what stands for the two sides' engines, for the tests of the codec."""

from __future__ import annotations

import json

from shared.capability import FunctionSpec
from shared.errors import Failure


class Hosts:
    """A worker that hosts `hello` (returns) and `count` (streams)."""

    def __init__(self, *, maintenance: bool = False) -> None:
        self.maintenance = maintenance
        self.functions = {
            "hello": FunctionSpec(name="hello"),
            "count": FunctionSpec(name="count", streaming=True),
        }

    def find_function(self, name: str) -> FunctionSpec | None:
        """Return a hosted function."""
        return self.functions.get(name)


class Groups:
    """A fleet in which `hello` is hosted by one group and `shared` by several."""

    def __init__(self, answer: str | Failure | None = None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, int]] = []

    def only_group(self, function: str, contract: int) -> str | Failure | None:
        """Return the only group of a function."""
        self.asked.append((function, contract))
        return self.answer


def body(**fields: object) -> bytes:
    """Return a body that asks for `hello`, with some fields set otherwise."""
    return json.dumps({"function": "hello", "contract": 1, **fields}).encode()


def without(*names: str) -> bytes:
    """Return a body that lacks fields."""
    given: dict[str, object] = {"group": "g1", "function": "hello", "contract": 1}
    return json.dumps({name: value for name, value in given.items() if name not in names}).encode()
