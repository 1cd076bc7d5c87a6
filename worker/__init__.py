"""The data plane: hosts functions and runs one task in each of its slots.

What stands here is the authoring API; users import it from `cabrank`. Importing it brings neither
the HTTP server nor a store along, so a file of functions loads fast, also in a child process.
"""

from __future__ import annotations

from worker.authoring import (
    Context,
    ContextMisuse,
    DeclarationError,
    Function,
    Progress,
    Service,
    function,
    service,
    tags,
)

__all__ = [
    "Context",
    "ContextMisuse",
    "DeclarationError",
    "Function",
    "Progress",
    "Service",
    "function",
    "service",
    "tags",
]
