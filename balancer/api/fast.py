"""What stands behind the balancer's fast lane: the same codec and engine as `api/tasks.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.codec import BalancerRules, authorize_balancer, is_durable, parse_task
from shared.errors import Failure
from shared.ids import TaskId
from shared.task import Mode

if TYPE_CHECKING:
    from balancer.api.acceptance import Acceptance
    from balancer.engine import Engine
    from shared.edge.fast_lane import Taken
    from shared.edge.headers import EdgeHeaders
    from shared.task import Sink

_SYNC = Mode.SYNC


class FastDesk:
    """Takes sync and durable tasks; streams are left to the other shell.

    Args:
        engine: where they go.
        acceptance: commits the durable ones.
        lb_key: LB_AUTH_KEY.
    """

    def __init__(self, engine: Engine, acceptance: Acceptance, lb_key: str) -> None:
        self._engine = engine
        self._acceptance = acceptance
        self._lb_key = lb_key
        self._rules = BalancerRules(engine.scheduler)

    def authorize(self, headers: EdgeHeaders) -> Failure | None:
        """Check the key."""
        return authorize_balancer(headers, self._lb_key)

    def refused(self, reason: Failure, correlation_id: str) -> None:
        """Do nothing: strangers leave no line in the log."""

    def take(
        self, body: bytes | bytearray, headers: EdgeHeaders, correlation_id: str, sink: Sink
    ) -> Taken:
        """Submit a sync task, or accept a durable one."""
        task = parse_task(body, headers, self._rules)
        if isinstance(task, Failure):
            return task
        task.correlation_id = correlation_id
        if is_durable(task.mode, headers):
            return self._acceptance.answer(task, headers)
        if task.mode is not _SYNC:
            return None
        live = self._engine.submit(task, sink)
        return live if isinstance(live, Failure) else live.id

    def left(self, task_id: str) -> None:
        """Cancel a task whose caller is gone."""
        self._engine.cancel(TaskId(task_id), "the caller left")
