"""The pure core of the worker: slots, attempts and the outbox of results."""

from __future__ import annotations
