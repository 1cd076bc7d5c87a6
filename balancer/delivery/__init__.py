"""How outcomes leave the balancer: waiting callers, streams and webhooks."""

from __future__ import annotations
