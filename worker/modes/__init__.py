"""The three ways a task answers: sync, stream and webhook."""

from __future__ import annotations
