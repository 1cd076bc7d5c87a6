"""The vocabulary of both sides: pure, but for its few named shells."""

from __future__ import annotations
