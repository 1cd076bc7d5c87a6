"""Everything that proves Cabrank; a package so that tests can import tests.fakes."""

from __future__ import annotations
