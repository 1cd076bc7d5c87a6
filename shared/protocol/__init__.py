"""The link between a balancer and a worker, sans-I/O, both roles."""

from __future__ import annotations
