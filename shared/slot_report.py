"""What a worker says about its slots: the only thing that frees one.

`seen` is the number of the last dispatch of this link that the worker had read when it cut the
report. So a balancer knows: free = `available` − (dispatches it sent after `seen`), and a report
that could not have seen a dispatch never frees its slot (DESIGN §2).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class SlotReport:
    """A worker's slots at one moment, as told to one link.

    Attributes:
        seen: number of the last dispatch read on this link; 0 before the first.
        available: free slots offered to this link; 0 in maintenance or while a service is down.
        limit: slots the worker has.
        used: slots held by code that really runs, stuck ones included.
        queue: tasks in the worker's own queue (direct ones).
        stuck: slots held by code that outlived its time-out and cannot be killed.
        maintenance: the worker takes no new task.
    """

    seen: int = 0
    available: int = 0
    limit: int = 0
    used: int = 0
    queue: int = 0
    stuck: int = 0
    maintenance: bool = False
