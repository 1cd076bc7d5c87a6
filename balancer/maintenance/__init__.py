"""Periodic jobs of the balancer, one a file."""

from __future__ import annotations
