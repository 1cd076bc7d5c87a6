"""Tasks that came to this worker directly, by HTTP and without a balancer: their queue and retries.

A worker retries only these; what a balancer dispatched is retried by the balancer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import failure
from shared.ids import Token
from shared.retry import Backoff, RetryDecision, decide
from shared.task import Mode, Outcome
from shared.task_state import TaskStatus
from worker.attempt import Attempt
from worker.core.direct_queue import DirectQueue, DirectTask, Place
from worker.core.execution import timed_out

if TYPE_CHECKING:
    from shared.clock import Chance
    from shared.errors import Failure
    from shared.ids import TaskId
    from shared.task import Piece, Sink, TaskRequest
    from worker.engine import WorkerEngine

STREAM_CREDIT = 256 * 1024  # bytes of a stream on their way to a direct caller
FULL_RETRY_AFTER_S = 1.0


class DirectTasks:
    """The direct tasks of a worker, and the owner of their attempts.

    Args:
        engine: has the slots.
        chance: jitter of retries.
    """

    def __init__(self, engine: WorkerEngine, chance: Chance) -> None:
        settings = engine.settings
        self._engine = engine
        self._chance = chance
        self._queue = DirectQueue(settings.max_queue, settings.max_queue_bytes)
        self._tasks: dict[TaskId, DirectTask] = {}
        self._by_token: dict[Token, DirectTask] = {}
        self._pumping = False

    def __len__(self) -> int:
        """Return the tasks that wait, for a slot or for their next attempt."""
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        """Return the bytes of the inputs that wait."""
        return self._queue.size

    def submit(self, request: TaskRequest, sink: Sink, task_id: TaskId) -> Failure | DirectTask:
        """Take a task in; it starts at once when a slot is free and nobody waits before it."""
        engine = self._engine
        if engine.closing or engine.maintenance:
            return failure("shutting_down" if engine.closing else "maintenance")
        function = engine.function(request.function)
        if function is None:
            return failure("function_not_found", f"Function '{request.function}' not found")
        config = function.config
        task = DirectTask(
            task_id,
            request,
            sink,
            max_attempts=request.max_attempts or config.max_retries + 1,
            deadline_s=self._deadline_of(request),
        )
        starts_at_once = not self._queue.waiting and engine.gate.own_may_take()
        if not starts_at_once and not self._queue.room_for(task):
            engine.counters.queue_full += 1
            return failure("queue_full", retry_after_s=FULL_RETRY_AFTER_S)
        engine.counters.direct += 1
        self._tasks[task_id] = task
        self._queue.push(task)
        engine.changed()
        return task

    def cancel(self, task_id: TaskId, reason: str) -> bool:
        """End a task wherever it is; its sink is told."""
        task = self._tasks.get(task_id)
        if task is None:
            return False
        attempt = None if task.token is None else self._engine.attempt(task.token)
        outcome = Outcome(TaskStatus.CANCELLED, failure=failure("cancelled", _text_of(reason)))
        if attempt is not None and attempt.outcome is None:
            return self._engine.stop(attempt, outcome)
        self._queue.remove(task)
        self._resolve(task, outcome)
        self._engine.changed()
        return True

    def grant(self, task_id: TaskId, size: int) -> None:
        """Let a stream send more."""
        task = self._tasks.get(task_id)
        attempt = None if task is None or task.token is None else self._engine.attempt(task.token)
        if attempt is not None and attempt.channel is not None:
            attempt.channel.grant(size)

    def pump(self) -> None:
        """Start what can start. A task that ends at once does not start the next one inside itself."""
        if self._pumping or not (self._queue.waiting or self._engine.gate.own.demand):
            return
        self._pumping = True
        try:
            self._tell_demand()
            while self._queue.waiting and self._engine.gate.own_may_take():
                task = self._queue.pop()
                assert task is not None, "a waiting task can be taken"
                self._start(task)
                self._tell_demand()
        finally:
            self._pumping = False

    def tick(self, now_s: float) -> None:
        """End the tasks whose deadline has passed and let the retries wait that are due."""
        before = self._queue.waiting
        over = self._queue.tick(now_s)
        for task in over:
            self._resolve(task, _too_late(task))
        if over or self._queue.waiting != before:
            self._engine.changed()

    def close(self) -> None:
        """Fail everything that waits."""
        for task in list(self._tasks.values()):
            if task.place in (Place.WAITING, Place.BACKOFF):
                self._queue.remove(task)
                self._resolve(task, Outcome(TaskStatus.FAILED, failure=failure("shutting_down")))

    # Owner of the attempts

    def piece(self, attempt: Attempt, piece: Piece) -> None:
        """Pass on a piece."""
        task = self._by_token.get(attempt.token)
        if task is not None:
            task.streamed = True
            task.sink.piece(piece)

    def event(self, attempt: Attempt, name: str, data: bytes) -> None:
        """Drop an event: whoever subscribes to events does so at a balancer."""

    def decided(self, attempt: Attempt, outcome: Outcome) -> None:
        """Pass on the outcome, or try again."""
        task = self._by_token.pop(attempt.token, None)
        if task is None:
            return
        task.token = None
        task.attempts += 1
        decision = self._decide(task, outcome)
        if decision.again:
            self._engine.counters.retried += 1
            self._queue.postpone(task, self._engine.clock.monotonic() + decision.wait_s)
        else:
            outcome.attempts = task.attempts
            self._resolve(task, outcome)

    # Inside

    def _decide(self, task: DirectTask, outcome: Outcome) -> RetryDecision:
        """Decide about another attempt; what a stream has shown cannot be taken back."""
        if outcome.failure is None or task.streamed or self._engine.closing:
            return RetryDecision(again=False)
        now_s = self._engine.clock.monotonic()
        if task.deadline_s is not None and task.deadline_s <= now_s:
            return RetryDecision(again=False, reason="no time is left")
        function = self._engine.function(task.request.function)
        base_s = 1.0 if function is None else function.config.retry_delay_s
        return decide(
            code=outcome.failure.code,
            retry_on=task.request.retry_on,
            attempts=task.attempts,
            max_attempts=task.max_attempts,
            backoff=Backoff(base_s=base_s),
            chance=self._chance,
        )

    def _start(self, task: DirectTask) -> None:
        engine = self._engine
        function = engine.function(task.request.function)
        assert function is not None, "functions do not go away"
        request = task.request
        streams = request.mode is Mode.STREAM
        token = Token(engine.ids.next_id())
        attempt = Attempt(
            token,
            task.id,
            function,
            self,
            attempt=task.attempts + 1,
            timeout_s=engine.timeout_of(function, request.timeout_s),
            deadline_s=task.deadline_s,
            streams=streams,
            credit=STREAM_CREDIT if streams else 0,
            metadata=request.metadata,
            correlation_id=request.correlation_id,
        )
        task.token = token
        self._by_token[token] = task
        engine.admit(attempt, engine.gate.own, engine.clock.monotonic())
        engine.begin(attempt, request.input)

    def _resolve(self, task: DirectTask, outcome: Outcome) -> None:
        del self._tasks[task.id]
        task.sink.finished(outcome)

    def _deadline_of(self, request: TaskRequest) -> float | None:
        limit_s = request.deadline_s
        if limit_s is None and request.mode is not Mode.WEBHOOK:
            limit_s = self._engine.settings.task_timeout_s
        return None if limit_s is None else self._engine.clock.monotonic() + limit_s

    def _tell_demand(self) -> None:
        queue, engine = self._queue, self._engine
        engine.gate.tell(
            engine.gate.own, queue.waiting, queue.best_priority, engine.clock.monotonic()
        )


def _too_late(task: DirectTask) -> Outcome:
    """Return the outcome of a task whose deadline passed while it waited."""
    if task.attempts:
        late = timed_out()
        late.attempts = task.attempts
        return late
    return Outcome(TaskStatus.TIMED_OUT, failure=failure("queue_timeout"))


def _text_of(reason: str) -> str | None:
    """Return the message of a cancellation; None for the code's own."""
    return None if reason == "cancelled" else f"Task was cancelled: {reason}"
