"""`cabrank demo`: a small fleet doing real work in all three modes, and the proof that it did."""

from __future__ import annotations
