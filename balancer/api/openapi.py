"""OpenAPI 3.1 of the balancer's routes, with the input schema of every function that the fleet hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balancer.fleet.worker import FleetWorker


def document(workers: Iterable[FleetWorker], version: str) -> dict[str, object]:
    """Return the document."""
    return {}
