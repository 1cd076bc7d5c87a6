"""The pure core of the balancer: events in, commands out; no I/O, no clock, no chance."""

from __future__ import annotations
