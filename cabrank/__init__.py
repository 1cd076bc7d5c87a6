"""The one name that users import: the authoring API and the client.

    from cabrank import Client, Context, function

Importing it starts nothing and loads no HTTP library, no balancer and no store.
"""

from __future__ import annotations

from shared.client import (
    Chunk,
    Client,
    Progress,
    SyncClient,
    SyncStream,
    TaskInfo,
    TaskPage,
    TaskStream,
    Webhook,
    WorkerInfo,
)
from shared.errors import (
    CabrankError,
    CallerError,
    ConfigError,
    Conflict,
    FleetError,
    FunctionError,
    InternalError,
    InvalidParams,
    NotFound,
    NoWorker,
    QueueFull,
    QueueTimeout,
    TaskCancelled,
    TaskTimeout,
    TooLarge,
    Unauthorized,
    Unavailable,
    WebhookFailed,
    WorkerError,
    WorkerLost,
)
from worker import (
    Context,
    ContextMisuse,
    DeclarationError,
    Function,
    Service,
    function,
    service,
    tags,
)

__all__ = [
    "CabrankError",
    "CallerError",
    "Chunk",
    "Client",
    "ConfigError",
    "Conflict",
    "Context",
    "ContextMisuse",
    "DeclarationError",
    "FleetError",
    "Function",
    "FunctionError",
    "InternalError",
    "InvalidParams",
    "NoWorker",
    "NotFound",
    "Progress",
    "QueueFull",
    "QueueTimeout",
    "Service",
    "SyncClient",
    "SyncStream",
    "TaskCancelled",
    "TaskInfo",
    "TaskPage",
    "TaskStream",
    "TaskTimeout",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Webhook",
    "WebhookFailed",
    "WorkerError",
    "WorkerInfo",
    "WorkerLost",
    "function",
    "service",
    "tags",
]
