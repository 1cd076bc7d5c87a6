"""The store that keeps everything in memory: a real implementation, forgotten at exit."""

from __future__ import annotations
