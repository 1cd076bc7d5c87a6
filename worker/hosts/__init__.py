"""What a worker can host: functions now, other kinds of component beside them."""

from __future__ import annotations
