"""The Python client of a fleet: async first, with a thin sync facade."""

from __future__ import annotations
