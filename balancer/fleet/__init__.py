"""The workers that the balancer knows, and how it reaches each of them."""

from __future__ import annotations
