"""The HTTP edge of the worker."""

from __future__ import annotations
