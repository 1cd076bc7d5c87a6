"""What stands behind the balancer's fast lane: the same codec and engine as `api/tasks.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.codec import BalancerRules, authorize_balancer, is_durable, parse_task
from shared.errors import Failure
from shared.ids import TaskId
from shared.task import Mode

if TYPE_CHECKING:
    from balancer.engine import Engine
    from shared.edge.headers import EdgeHeaders
    from shared.task import Sink


class FastDesk:
    """Takes sync tasks; streams and durable ones are left to the other shell.

    Args:
        engine: where they go.
        lb_key: LB_AUTH_KEY.
    """

    def __init__(self, engine: Engine, lb_key: str) -> None:
        self._engine = engine
        self._lb_key = lb_key
        self._rules = BalancerRules(engine.scheduler)

    def authorize(self, headers: EdgeHeaders) -> Failure | None:
        """Check the key."""
        return authorize_balancer(headers, self._lb_key)

    def take(self, body: bytes, headers: EdgeHeaders, sink: Sink) -> str | Failure | None:
        """Submit a sync task."""
        task = parse_task(body, headers, self._rules)
        if isinstance(task, Failure):
            return task
        if task.mode is not Mode.SYNC or is_durable(task.mode, headers):
            return None
        live = self._engine.submit(task, sink)
        return live if isinstance(live, Failure) else live.id

    def left(self, task_id: str) -> None:
        """Cancel a task whose caller is gone."""
        self._engine.cancel(TaskId(task_id), "the caller left")
