"""Real, small implementations that tests use in place of the world; never mocks."""

from __future__ import annotations
