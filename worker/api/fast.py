"""What stands behind the worker's fast lane: the same codec and engine as `api/task.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.edge.codec import WorkerRules, authorize_worker, parse_task
from shared.errors import Failure
from shared.ids import TaskId
from shared.task import Mode
from worker.modes.sync import CALLER_LEFT

if TYPE_CHECKING:
    from shared.edge.codec import Keys
    from shared.edge.fast_lane import Taken
    from shared.edge.headers import EdgeHeaders
    from shared.ids import IdSource
    from shared.log import TaskLog
    from shared.task import Sink
    from worker.engine import WorkerEngine
    from worker.modes.webhook import WebhookMode


class FastDesk:
    """Takes direct sync and webhook tasks; streams are left to the other shell.

    Args:
        engine: runs them.
        webhooks: runs those of mode webhook.
        keys: of the worker.
        ids: makes their ids.
        log: notes the ones that are refused.
        contract: the only contract that is served.
    """

    def __init__(
        self,
        engine: WorkerEngine,
        webhooks: WebhookMode,
        keys: Keys,
        ids: IdSource,
        log: TaskLog,
        *,
        contract: int,
    ) -> None:
        self._engine = engine
        self._webhooks = webhooks
        self._keys = keys
        self._ids = ids
        self._log = log
        self._rules = WorkerRules(contract, engine)

    def authorize(self, headers: EdgeHeaders) -> Failure | None:
        """Check the keys."""
        return authorize_worker(headers, *self._keys)

    def refused(self, reason: Failure, correlation_id: str) -> None:
        """Note it in the log."""
        self._log.rejected(reason.code, correlation_id)

    def take(
        self, body: bytes | bytearray, headers: EdgeHeaders, correlation_id: str, sink: Sink
    ) -> Taken:
        """Submit a sync task, or begin one whose hook is to be told."""
        task = parse_task(body, headers, self._rules)
        if isinstance(task, Failure):
            self._log.rejected(task.code, correlation_id)
            return task
        if task.mode is Mode.STREAM:
            return None
        task.correlation_id = correlation_id
        task_id = TaskId(self._ids.next_id())
        if task.mode is Mode.WEBHOOK:
            return self._webhooks.answer(task, task_id, headers)
        taken = self._engine.submit(task, sink, task_id)
        return taken if isinstance(taken, Failure) else task_id

    def left(self, task_id: str) -> None:
        """Cancel a task whose caller is gone."""
        self._engine.cancel(TaskId(task_id), CALLER_LEFT)
