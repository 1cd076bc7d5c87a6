"""The worker's end of a link: answers Hello, takes dispatches, reports its slots, offers results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from shared.errors import Failure, failure
from shared.protocol.bodies import Assembly, Large, Whole
from shared.protocol.codec import Decoder, UnknownKind
from shared.protocol.endings import ending, too_large, unwanted
from shared.protocol.limits import MAX_AWAITED, MAX_BODY, MAX_TEXT, PART_BYTES
from shared.protocol.link import SMALL, Link, LinkHandler, LinkState, Wire
from shared.protocol.messages import (
    Accepted,
    Ack,
    Body,
    Cancel,
    Chunk,
    Credit,
    Demand,
    Dispatch,
    Event,
    Facts,
    Finished,
    FromBalancer,
    Goodbye,
    Hello,
    Maintenance,
    Part,
    Refused,
    Report,
    Welcome,
)
from shared.protocol.version import mismatch, negotiate
from shared.task import Mode

if TYPE_CHECKING:
    from shared.protocol.messages import AnyMessage, Message

_MODES = frozenset(Mode)
_DECODER = Decoder(FromBalancer)
_ENDLESS = float("inf")
_UP = LinkState.UP  # to look it up in its class costs as much as a call
_FOR_EVER_S = 1e9  # above every duration that is meant; infinity and NaN fail the comparison


class WorkerHandler(LinkHandler, Protocol):
    """What a worker is told, in the order of the wire."""

    def hello(self, hello: Hello) -> Welcome | Goodbye | None:
        """Say who this worker is, or refuse the balancer.

        Results and reports may be handed to the link at once; they travel after the Welcome.
        """
        ...

    def reserve(self, dispatch: Dispatch) -> Failure | str | None:
        """Take a slot for a dispatch, or say why not: a failure, or the code of one.

        It is followed by one `dispatch`, when the input is here, or by one `cancel`.
        """
        ...

    def dispatch(self, dispatch: Dispatch, input: bytes) -> None:
        """Run an attempt in the slot that was reserved for it."""
        ...

    def cancel(self, token: str, reason: str) -> None:
        """End an attempt, or free the slot that was reserved for it; unknown tokens are no error."""
        ...

    def acked(self, tokens: list[str]) -> None:
        """Forget results; unknown tokens are no error."""
        ...

    def credit(self, token: str, size: int) -> None:
        """Let a stream send `size` bytes more."""
        ...

    def demand(self, count: int, best_priority: float) -> None:
        """Take how much waits at the balancer for this worker."""
        ...

    def maintenance(self, on: bool) -> None:
        """Go into maintenance or back."""
        ...

    def report(self) -> Report:
        """Return the slots as offered to this link now; the link fills in `seen`."""
        ...


class WorkerLink(Link):
    """The machine of a worker.

    Args:
        handler: is told what comes.
        wire: the shell.
        heartbeat_interval_s: seconds between two pings.
        heartbeat_timeout_s: seconds without anything after a ping that make a silence.
    """

    def __init__(
        self,
        handler: WorkerHandler,
        wire: Wire,
        *,
        heartbeat_interval_s: float = 3.0,
        heartbeat_timeout_s: float = 3.0,
    ) -> None:
        super().__init__(
            handler,
            wire,
            _DECODER,
            heartbeat_interval_s=heartbeat_interval_s,
            heartbeat_timeout_s=heartbeat_timeout_s,
        )
        self._handler = handler
        self._seen = 0  # number of the last Dispatch that was read
        self._told: Report | None = None  # what the balancer was told last
        self._rest_due = False  # what it need not know at once has waited long enough
        self._halves: Assembly[Dispatch] = Assembly(MAX_AWAITED)  # reserved, body not complete
        self._facts: Facts | None = None

    @property
    def seen(self) -> int:
        """Return the number of the last dispatch that was read."""
        return self._seen

    # Intents; while the link is not up they do nothing

    def finished(self, message: Finished, result: bytes | None = None) -> None:
        """Offer the end of an attempt, behind its pieces.

        A result of more than PART_BYTES follows in parts; one of more than MAX_BODY becomes a
        failure, `result_too_large`. The message is not changed; nobody may change it afterwards.
        """
        if self._state is not _UP:
            return
        if result is None or len(result) <= PART_BYTES:
            small = ending(message, result)
            size = SMALL + len(small.message) + len(result or b"") + len(small.details or b"")
            self._out.push_behind(message.token, small, size)
        elif len(result) > MAX_BODY:
            self._out.push_behind(message.token, too_large(message, len(result)), SMALL)
        else:
            self._offer_body(ending(message, None, len(result)), result)
        if not self._awake:
            self._wake()

    def chunk(self, token: str, seq: int, kind: str, data: bytes) -> bool:
        """Send one piece of a stream, of any size up to MAX_BODY.

        Returns:
            False when it is too large to be sent; the attempt must then fail.
        """
        if len(data) > MAX_BODY:
            return False
        if self._state is not LinkState.UP:
            return True
        if len(data) <= PART_BYTES:
            self._out.push_behind(token, Chunk(token, seq, kind, data), SMALL + len(data))
        else:
            piece = Large(
                data,
                lambda part, last: Chunk(token, seq, kind, part, not last),
                stop=Chunk(token, seq, kind, b""),
            )
            self._out.push_body(token, piece)
        self._wake()
        return True

    def refused(self, token: str, code: str, message: str) -> None:
        """Give a dispatch back, with the slots as they are now."""
        if self._state is LinkState.UP:
            report = self._told = self._cut_report()
            self._push(Refused(token, code, message[:MAX_TEXT], report))

    def facts(self, facts: bytes, functions: bytes | None = None) -> None:
        """Tell what changed about the worker; of several in one frame the last one counts."""
        if self._state is LinkState.UP:
            if functions is None and self._facts is not None:
                functions = self._facts.functions
            self._facts = Facts(facts, functions)
            self._wake()

    def event(self, token: str, name: str, data: bytes) -> bool:
        """Tell what a function published; False when it is larger than PART_BYTES."""
        if len(data) + len(name) > PART_BYTES:
            return False
        if self._state is LinkState.UP:
            self._out.push_behind(token, Event(token, name, data), SMALL + len(data))
            self._wake()
        return True

    def touch(self) -> None:
        """Note that the slots have changed: a report may be due."""
        if not self._awake and self._state is _UP:
            self._wake()

    def tell_rest(self) -> None:
        """Have a report sent if anything at all is not told yet; call it now and then."""
        if self._state is LinkState.UP and self._cut_report() != self._told:
            self._rest_due = True
            self._wake()

    # What comes

    def _read_first(self, message: AnyMessage | UnknownKind) -> None:
        match message:
            case Hello():
                self._on_hello(message)
            case Goodbye():
                self._read_either(message)
            case _:
                self._fail(f"{type(message).__name__} before Hello")

    def _read(self, message: AnyMessage | UnknownKind) -> None:
        match message:
            case Dispatch():
                self._on_dispatch(message)
            case Ack():
                self._handler.acked(message.tokens)
            case Credit():
                self._on_credit(message)
            case Body():
                self._on_body(message)
            case Demand():
                self._on_demand(message)
            case Cancel():
                self._on_cancel(message)
            case Maintenance():
                self._handler.maintenance(message.on)
            case Hello():
                self._fail("second Hello on one link")
            case _:
                self._read_either(message)

    def _on_hello(self, hello: Hello) -> None:
        version = negotiate(hello)
        if version is None:
            self._fail(mismatch(hello), "version")
            return
        if not 0 <= hello.resume_window < _FOR_EVER_S:
            self._fail(f"resume window of {hello.resume_window} s")
            return
        self._state = LinkState.UP
        answer = self._handler.hello(hello)
        if isinstance(answer, Welcome):
            answer.version = version
            self._told = answer.report
            self._out.push_front(answer)
            self._wake()
        else:
            refusal = answer or Goodbye("refused", "the worker does not take this balancer")
            self._fail(refusal.message, refusal.code)

    def _on_dispatch(self, dispatch: Dispatch) -> None:
        if dispatch.n <= self._seen:
            return  # read already
        problem = _dispatch_fault(dispatch)
        if problem or dispatch.n != self._seen + 1 or dispatch.token in self._halves:
            self._fail(problem or f"dispatch {dispatch.n} ({dispatch.token}) after {self._seen}")
            return
        self._seen = dispatch.n
        refusal = self._refusal(dispatch)
        if refusal is not None:
            self.refused(dispatch.token, refusal.code, refusal.message)
        elif dispatch.input is not None:
            self._handler.dispatch(dispatch, dispatch.input)
        else:
            self._halves.begin(dispatch.token, dispatch, dispatch.body_size)
            self._push(Accepted(dispatch.token))
        if not self._awake:
            self._wake()  # a report may be due: its `seen` has changed

    def _refusal(self, dispatch: Dispatch) -> Failure | None:
        if dispatch.mode not in _MODES:
            return failure("invalid_mode")
        if dispatch.body_size > MAX_BODY:
            return failure("body_too_large")
        if len(self._halves) >= MAX_AWAITED:
            return failure("no_slot")
        refusal = self._handler.reserve(dispatch)
        return failure(refusal) if isinstance(refusal, str) else refusal

    def _on_body(self, body: Body) -> None:
        if body.token not in self._halves:
            return  # of an attempt that was cancelled while it was on its way
        whole = self._halves.add(body.token, body.data, body.last)
        if isinstance(whole, Whole):
            self._begin_whole(whole.message, whole.data)
        elif whole:
            self._fail(whole)

    def _begin_whole(self, dispatch: Dispatch, body: bytes) -> None:
        end = len(body) - dispatch.metadata_size
        if dispatch.metadata_size:
            dispatch.metadata = body[end:]
        dispatch.input = body[:end]
        self._handler.dispatch(dispatch, dispatch.input)

    def _on_cancel(self, cancel: Cancel) -> None:
        self._halves.drop(cancel.token)
        self._break_off(cancel.token)
        self._handler.cancel(cancel.token, cancel.reason)

    def _on_credit(self, credit: Credit) -> None:
        if credit.size < 0:
            self._fail(f"credit of {credit.size} bytes")
        else:
            self._handler.credit(credit.token, credit.size)

    def _on_demand(self, demand: Demand) -> None:
        if demand.count < 0 or not demand.best_priority >= 0:
            self._fail(f"demand of {demand.count} tasks, priority {demand.best_priority}")
        else:
            self._handler.demand(demand.count, demand.best_priority)

    # Bodies and frames

    def _offer_body(self, head: Finished, result: bytes) -> None:
        token = head.token
        body = Large(result, lambda part, last: Part(token, part, last), head=head)
        self._out.push_body(token, body)

    def _break_off(self, token: str) -> None:
        """Stop sending what nobody wants: pieces are left out, a large result becomes a short ending."""
        dropped = self._out.bodies.drop(token)
        if dropped is None:
            return
        endings = [each for each in dropped.unsent if isinstance(each, Finished)]
        if endings:
            self._push(unwanted(endings[-1]))
        elif dropped.stop is not None:
            self._push(dropped.stop)

    def _complete(self, frame: list[Message]) -> None:
        super()._complete(frame)
        if self._facts is not None:
            frame.append(self._facts)
            self._facts = None
        if self._out.drained:  # else the report would come before what it accounts for
            report = self._cut_report()
            if report != self._told and (frame or self._rest_due or _is_urgent(report, self._told)):
                self._told = report
                self._rest_due = False
                frame.append(report)

    def _cut_report(self) -> Report:
        now = self._handler.report()
        return Report(
            self._seen, now.available, now.limit, now.used, now.queue, now.stuck, now.maintenance
        )

    def _released(self) -> None:
        for dispatch in self._halves.clear():
            self._handler.cancel(dispatch.token, "link_lost")  # its body will not come


def _is_urgent(report: Report, told: Report | None) -> bool:
    """Tell whether a report is worth a frame of its own.

    A balancer computes with `available + seen`. A dispatch that takes its slot leaves the sum as it
    was, so the balancer knows already; a slot that is free, or is taken by somebody else, changes it.
    """
    return (
        told is None
        or report.available + report.seen != told.available + told.seen
        or report.limit != told.limit
        or report.maintenance != told.maintenance
    )


def _dispatch_fault(dispatch: Dispatch) -> str:
    """Say what no balancer of ours sends, or ""."""
    if (dispatch.input is None) != (dispatch.body_size > 0):
        return f"dispatch {dispatch.n} has no input, or two"
    metadata_size = dispatch.metadata_size
    if (metadata_size != 0 and not 0 < metadata_size <= dispatch.body_size) or dispatch.credit < 0:
        return f"dispatch {dispatch.n} has sizes that do not add up"
    timeout, remaining = dispatch.timeout, dispatch.remaining
    if (timeout is not None and not 0 <= timeout < _ENDLESS) or (
        remaining is not None and not -_ENDLESS < remaining < _ENDLESS
    ):
        return f"dispatch {dispatch.n} has impossible times"
    if not 0 <= dispatch.priority < _ENDLESS:
        return f"dispatch {dispatch.n} has priority {dispatch.priority}"
    return ""
