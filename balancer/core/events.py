"""What the fleet tells the scheduler about a worker, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.capability import FunctionSpec
    from shared.ids import BootId, TaskId, Token, WorkerId

LINK = "link"  # reports number the dispatches they have seen; attempts survive a cut
HTTP = "http"  # a plain HTTP worker: neither


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """A worker as it has announced itself and as workers.json lists it.

    Attributes:
        worker: its id, `host:port` of its entry.
        boot: its process start; a new one means that its old attempts are gone.
        group: whose functions it hosts.
        contract: version of the group's interface.
        functions: what it hosts, by name.
        eligible: names of the functions that may be sent to it (contract §5: those that agree with
            the reference worker).
        weight: how much a free slot of it counts in placement.
        kind: `LINK` or `HTTP`.
        order: its place in workers.json; breaks ties, the lowest is the reference.
    """

    worker: WorkerId
    boot: BootId
    group: str
    contract: int
    functions: Mapping[str, FunctionSpec]
    eligible: frozenset[str]
    weight: float = 1.0
    kind: str = LINK
    order: int = 0


class Held(NamedTuple):
    """An attempt that a worker names when its link opens: it runs it, or holds its result."""

    token: Token
    task_id: TaskId
    finished: bool
