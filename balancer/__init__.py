"""The control plane: holds the queue and hands each task to the next free slot of the fleet."""

from __future__ import annotations
