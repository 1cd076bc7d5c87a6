"""The messages of the link between a balancer and a worker, version 1.

A frame is one WebSocket binary message: a msgpack array of messages. A message is a msgpack array
whose first element is its kind (an integer), followed by its fields in the order declared here.
Fields are only ever added at the end: a reader ignores fields it does not know and takes defaults
for those that are missing. A kind that is not known is answered with `Unsupported`.

JSON values (`input`, `result`, `metadata`, pieces) travel as JSON text in bytes and are not decoded
on the way. Durations are seconds. Kinds below 32 go from balancer to worker, from 32 to worker to
balancer, from 64 either way.

    balancer                                worker
    Hello ────────────────────────────────▶            opens; kills the balancer's older link
          ◀──────────────────────────────── Welcome    who I am, what I run, what I hold
    Dispatch(n) ──────────────────────────▶            into a slot, or Refused with a report
          ◀──────────────────────────────── Accepted   only when the body is to follow
    Body … ───────────────────────────────▶
          ◀──────────────────────────────── Chunk …    a stream's pieces, within the credit
    Credit ───────────────────────────────▶
          ◀──────────────────────────────── Finished   offered again until acknowledged
    Ack ──────────────────────────────────▶
          ◀──────────────────────────────── Report     last in its frame, after what it accounts for
"""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, array_like=True, gc=False):
    """Any message; the subclasses carry the kind as their tag."""


# Balancer to worker


class Hello(Message, tag=1):
    """Opens the link. The first message of a balancer."""

    version: int  # highest protocol version this side speaks
    min_version: int  # lowest
    balancer_id: str  # stable over restarts of the same balancer
    boot_id: str  # of this process start
    resume_window: float = (
        2.0  # seconds after which a silent balancer's sync and stream attempts end
    )


class Dispatch(Message, tag=2):
    """Runs one attempt of a task in a free slot."""

    n: int  # 1, 2, 3 … on this link; reports name the last one read
    token: str
    task_id: str
    function: str
    mode: str
    input: bytes | None  # None: `body_size` bytes follow in Body messages after Accepted
    correlation_id: str = ""
    priority: float = 1
    attempt: int = 1
    durable: bool = False  # survives the balancer: keep the result until somebody acknowledges it
    timeout: float | None = None
    remaining: float | None = None  # seconds left of the task's deadline when this was sent
    metadata: bytes | None = None
    body_size: int = 0
    credit: int = 0  # stream: bytes of pieces that may be sent before a Credit message
    metadata_size: int = 0  # the last bytes of the body are the metadata, not the input


class Cancel(Message, tag=3):
    """Ends an attempt: its caller left, it was cancelled, or another attempt took its place."""

    token: str
    reason: str = "cancelled"


class Body(Message, tag=4):
    """A part of a large input; parts of one token come in order, other messages in between."""

    token: str
    data: bytes
    last: bool = False


class Ack(Message, tag=5):
    """Results that are in safe hands; the worker forgets them."""

    tokens: list[str]


class Credit(Message, tag=6):
    """More bytes of pieces that a stream may send."""

    token: str
    size: int


class Demand(Message, tag=7):
    """How many tasks wait here for this worker, so that it can share its slots fairly."""

    count: int
    best_priority: float = 1


class Maintenance(Message, tag=8):
    """Orders the worker into maintenance or back."""

    on: bool


# Worker to balancer


class Holding(msgspec.Struct, array_like=True, gc=False):
    """An attempt that a worker runs, or whose result it holds unacknowledged."""

    token: str
    task_id: str
    attempt: int
    durable: bool
    finished: bool  # its Finished message follows the Welcome
    function: str = ""
    n: int = 0


class Report(Message, tag=33):
    """The worker's slots as offered to this link (`shared.slot_report.SlotReport`)."""

    seen: int
    available: int
    limit: int
    used: int
    queue: int = 0
    stuck: int = 0
    maintenance: bool = False


class Welcome(Message, tag=32):
    """Answers Hello. The first message of a worker."""

    version: int  # the version both will speak
    worker_id: str  # the worker's own stable id, so that two addresses of one worker are noticed
    boot_id: str
    software: str
    group: str
    contract: int
    functions: bytes  # JSON text: the `functions` array of /health
    report: Report
    holding: list[Holding]
    facts: bytes = b"{}"  # JSON text: {"tags": {}, "services": [], "system": {}}


class Refused(Message, tag=34):
    """A dispatch that cannot run here now. Its report is applied before the task goes back."""

    token: str
    code: str
    message: str
    report: Report


class Accepted(Message, tag=35):
    """The slot is taken; send the body."""

    token: str


class Chunk(Message, tag=36):
    """One piece of a stream."""

    token: str
    seq: int
    kind: str
    data: bytes
    more: bool = False  # the piece goes on in the next Chunk of this token, under the same seq


class Finished(Message, tag=37):
    """The end of an attempt."""

    token: str
    task_id: str
    status: str  # succeeded, failed, cancelled or timed_out
    result: bytes | None = None
    code: str = ""
    message: str = ""
    details: bytes | None = None  # JSON text: [{"param", "problem"}]
    error_type: str | None = None
    duration: float = 0.0
    body_size: int = 0  # > 0: the result follows in Part messages, before this one counts


class Part(Message, tag=38):
    """A part of a large result; parts of one token come in order, other messages in between."""

    token: str
    data: bytes
    last: bool = False


class Facts(Message, tag=39):
    """What changed about the worker: tags, services, load (the same JSON as in Welcome)."""

    facts: bytes
    functions: bytes | None = None  # when the list of functions changed


class Event(Message, tag=40):
    """What a function published with `ctx.emit`."""

    token: str
    name: str
    data: bytes


# Either way


class Ping(Message, tag=64):
    """Asks for a Pong with the same number."""

    n: int


class Pong(Message, tag=65):
    """Answers a Ping."""

    n: int


class Goodbye(Message, tag=66):
    """Closes the link on purpose; nothing follows."""

    code: str
    message: str = ""


class Unsupported(Message, tag=67):
    """Answers a message whose kind is not known here."""

    kind: int
    code: str = "unknown_message"


FromBalancer = (
    Hello
    | Dispatch
    | Cancel
    | Body
    | Ack
    | Credit
    | Demand
    | Maintenance
    | Ping
    | Pong
    | Goodbye
    | Unsupported
)
FromWorker = (
    Welcome
    | Report
    | Refused
    | Accepted
    | Chunk
    | Finished
    | Part
    | Facts
    | Event
    | Ping
    | Pong
    | Goodbye
    | Unsupported
)
AnyMessage = FromBalancer | FromWorker
