"""The parts of a store: each is one hash slot of a Redis Cluster, and has whole tasks and whole lanes.

A pool (group, contract) belongs to one part. The id of a task that is made for a shared store ends in
its pool's part (`<id>.3f`), so the task is found by its id alone, and so is its webhook (`msg_<id>`). An
id without an ending belongs to the last part, which no pool has.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from shared.ids import TaskId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.ids import LaneKey, PoolKey

POOL_PARTS = 255  # many more than a cluster has nodes, few enough to be asked one by one
LAST_PART = POOL_PARTS
PARTS = POOL_PARTS + 1

_ENDING = re.compile(r"\.([0-9a-f]{2})\Z")


def part_of_pool(pool: PoolKey) -> int:
    """Return the part that keeps the tasks of a pool."""
    group, contract = pool
    return zlib.crc32(f"{contract}\n{group}".encode()) % POOL_PARTS


def part_of(identifier: str) -> int:
    """Return the part of a task or of a webhook."""
    found = _ENDING.search(identifier)
    return int(found[1], 16) if found else LAST_PART


def shared_task_id(fresh: str, pool: PoolKey) -> TaskId:
    """Return the id of a new durable task of a pool, from one that nobody has."""
    return TaskId(f"{fresh}.{part_of_pool(pool):02x}")


def lane_name(lane: LaneKey) -> str:
    """Return what the keys call a lane."""
    group, contract, function = lane
    return f"{group}\n{contract}\n{function}"


class Keys:
    """The keys of one namespace.

    Args:
        namespace: what they begin with; without braces.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._bases = [f"{{{namespace}:{part:02x}}}" for part in range(PARTS)]

    def part(self, part: int) -> str:
        """Return what the keys of a part begin with."""
        return self._bases[part]

    def meta(self, name: str) -> str:
        """Return a key that belongs to no part."""
        return f"{{{self.namespace}:meta}}:{name}"


def by_part(identifiers: Iterable[str]) -> dict[int, list[str]]:
    """Return identifiers by their parts, each in the order given."""
    found: dict[int, list[str]] = {}
    for identifier in identifiers:
        found.setdefault(part_of(identifier), []).append(identifier)
    return found
