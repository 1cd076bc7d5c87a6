"""What survives a restart: one small protocol per aggregate and its backends."""

from __future__ import annotations
