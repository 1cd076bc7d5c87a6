"""The store that keeps everything in memory: a real implementation, forgotten at exit."""

from __future__ import annotations

from balancer.store.memory.shelves import Shelves
from balancer.store.memory.store import MemoryStore

__all__ = ["MemoryStore", "Shelves"]
