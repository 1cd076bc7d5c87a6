"""A small real engine for each end of a link: what the balancer and the worker do about exactly once.

The balancer keeps a ledger by sequence numbers, requeues what a Welcome does not name, and takes a
result only under the token of the current attempt. The worker holds slots, keeps results until they
are acknowledged, names them in its Welcome and offers them again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from shared.protocol.balancer_link import BalancerLink
from shared.protocol.messages import Dispatch, Finished, Goodbye, Hello, Holding, Refused, Report
from shared.protocol.messages import Welcome as WelcomeMessage
from shared.protocol.worker_link import WorkerLink
from tests.unit.shared.protocol.recorders import RecordingBalancer, RecordingWorker, welcome_message


def result_of(task_id: str, input: bytes) -> bytes:
    """Return what the function makes of an input: as large, and different for every task."""
    return task_id.encode() + b":" + input


@dataclass(slots=True)
class Task:
    """A task of the balancer engine."""

    id: str
    input: bytes
    token: str | None = None
    results: list[bytes | None] = field(default_factory=list[bytes | None])
    cancelled: bool = False


class BalancerEngine(RecordingBalancer):
    """A queue and a ledger over one link, which is set anew at every reconnect."""

    def __init__(self) -> None:
        super().__init__()
        self.link: BalancerLink | None = None
        self.tasks: dict[str, Task] = {}  # in the order of submission, which is their place
        self.superseded = 0
        self.refusals = 0
        self._tokens = 0
        self._available = 0
        self._seen = 0

    def submit(self, input: bytes) -> None:
        """Queue a task and dispatch what has a slot."""
        task = Task(f"task-{len(self.tasks) + 1}", input)
        self.tasks[task.id] = task
        self.dispatch_all()

    def cancel(self, task: Task) -> None:
        """End a task here, and its attempt there."""
        task.cancelled = True
        if task.token is not None and self.link is not None:
            self.link.cancel(task.token)
        task.token = None

    def dispatch_all(self) -> None:
        """Send waiting tasks in their order while the ledger has a free slot."""
        link = self.link
        if link is None or not link.up:
            return
        for task in self.tasks.values():
            if self._available - (link.sent - self._seen) <= 0:
                return
            if task.token is None and not task.results and not task.cancelled:
                self._tokens += 1
                task.token = f"token-{self._tokens}"
                sent = link.dispatch(
                    token=task.token, task_id=task.id, function="f", mode="sync", input=task.input
                )
                assert sent == link.sent

    def welcomed(self, welcome: WelcomeMessage) -> None:
        """Keep what the worker names, requeue what it does not, end what is not ours any more."""
        held = {each.token: each.finished for each in welcome.holding}
        current = {task.token for task in self.tasks.values() if task.token is not None}
        for task in self.tasks.values():
            if task.token is not None and task.token not in held:
                task.token = None
        assert self.link is not None
        for token, finished in held.items():
            if token not in current and not finished:
                self.link.cancel(token)
        self.reported(welcome.report)

    def reported(self, report: Report) -> None:
        """Note the slots, and use them."""
        self._available, self._seen = report.available, report.seen
        self.dispatch_all()

    def refused(self, refused: Refused) -> None:
        """Apply the report, then take the task back."""
        self.refusals += 1
        for task in self.tasks.values():
            if task.token == refused.token:
                task.token = None
        self.reported(refused.report)

    def finished(self, finished: Finished, result: bytes | None) -> None:
        """Take the result of the current attempt once; acknowledge whatever comes."""
        task = self.tasks[finished.task_id]
        if task.token == finished.token:
            task.results.append(result)
            task.token = None
        else:
            self.superseded += 1
        assert self.link is not None
        self.link.ack(finished.token)


class WorkerEngine(RecordingWorker):
    """Slots and an outbox behind one link, which is set anew at every reconnect."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.link: WorkerLink | None = None
        self.limit = limit
        self.reserved: set[str] = set()
        self.running: dict[str, tuple[Dispatch, bytes]] = {}
        self.outbox: dict[str, tuple[Finished, bytes | None]] = {}
        self.started_tokens: Counter[str] = Counter()
        self.started_tasks: Counter[str] = Counter()

    @property
    def used(self) -> int:
        """Return how many slots are taken."""
        return len(self.reserved) + len(self.running)

    def report(self) -> Report:
        """Return the slots."""
        return Report(0, self.limit - self.used, self.limit, self.used)

    def hello(self, hello: Hello) -> WelcomeMessage | Goodbye | None:
        """Name what runs and what is not acknowledged, and offer the latter again."""
        assert not self.reserved, "a slot was reserved for a body of a link that is gone"
        assert self.link is not None
        holding = [
            Holding(d.token, d.task_id, d.attempt, d.durable, finished=False)
            for d, _ in self.running.values()
        ]
        for message, result in self.outbox.values():
            holding.append(Holding(message.token, message.task_id, 1, False, finished=True))
            self.link.finished(message, result)
        return welcome_message(self.report(), holding)

    def reserve(self, dispatch: Dispatch) -> str | None:
        """Take a slot if there is one."""
        if self.used >= self.limit:
            return "no_slot"
        self.reserved.add(dispatch.token)
        return None

    def dispatch(self, dispatch: Dispatch, input: bytes) -> None:
        """Begin an attempt in its slot."""
        self.reserved.remove(dispatch.token)
        self.running[dispatch.token] = (dispatch, input)
        self.started_tokens[dispatch.token] += 1
        self.started_tasks[dispatch.task_id] += 1

    def finish(self, token: str, status: str = "succeeded") -> None:
        """End an attempt and offer its result."""
        dispatch, input = self.running.pop(token)
        result = result_of(dispatch.task_id, input) if status == "succeeded" else None
        message = Finished(token, dispatch.task_id, status)
        self.outbox[token] = (message, result)
        if self.link is not None:
            self.link.finished(message, result)
            self.link.touch()

    def cancel(self, token: str, reason: str) -> None:
        """Free a reserved slot, or end an attempt."""
        if token in self.reserved:
            self.reserved.remove(token)
            if self.link is not None:
                self.link.touch()
        elif token in self.running:
            self.finish(token, "cancelled")

    def acked(self, tokens: list[str]) -> None:
        """Forget results that are in safe hands."""
        for token in tokens:
            self.outbox.pop(token, None)
