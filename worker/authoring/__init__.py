"""What authors of functions write with: decorators, the context, parameter schemas."""

from __future__ import annotations
