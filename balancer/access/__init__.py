"""Who may do what: keys and scopes."""

from __future__ import annotations
