"""The Python client of a fleet: async first, with a thin sync facade."""

from __future__ import annotations

from shared.client.client import Client
from shared.client.events import Chunk, Progress
from shared.client.records import (
    DeadLetterInfo,
    DeadLetterPage,
    ReplayedInfo,
    ReplayedMany,
    TaskInfo,
    TaskPage,
    WorkerInfo,
)
from shared.client.stream import TaskStream
from shared.client.sync import SyncClient, SyncStream
from shared.client.task_body import Webhook

__all__ = [
    "Chunk",
    "Client",
    "DeadLetterInfo",
    "DeadLetterPage",
    "Progress",
    "ReplayedInfo",
    "ReplayedMany",
    "SyncClient",
    "SyncStream",
    "TaskInfo",
    "TaskPage",
    "TaskStream",
    "Webhook",
    "WorkerInfo",
]
