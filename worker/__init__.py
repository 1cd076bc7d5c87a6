"""The data plane: hosts functions and runs one task in each of its slots."""

from __future__ import annotations
