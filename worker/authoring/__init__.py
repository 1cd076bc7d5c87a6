"""The authoring side of a worker: what functions, services and tags are, and how they are found."""

from __future__ import annotations

from worker.authoring.background import Service, ServiceDefinition, TagSource
from worker.authoring.context import Channel, Context, ContextMisuse, Progress
from worker.authoring.decorators import function, service, tags
from worker.authoring.discovery import Discovered, DiscoveryError, LoadFailure, discover
from worker.authoring.registry import Registry
from worker.authoring.signature import DeclarationError
from worker.authoring.task_function import Function, FunctionConfig, Kind, Origin

__all__ = [
    "Channel",
    "Context",
    "ContextMisuse",
    "DeclarationError",
    "Discovered",
    "DiscoveryError",
    "Function",
    "FunctionConfig",
    "Kind",
    "LoadFailure",
    "Origin",
    "Progress",
    "Registry",
    "Service",
    "ServiceDefinition",
    "TagSource",
    "discover",
    "function",
    "service",
    "tags",
]
