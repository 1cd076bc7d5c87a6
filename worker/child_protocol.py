"""What a worker and a child process that runs one of its functions tell each other.

A frame is four bytes of length, big-endian, and one msgpack array whose first element is its kind.
JSON values (input, result, pieces) travel as JSON text in bytes, as on the link.

    worker                               child
    Prepare ──────────────────────────▶            imports the files of the functions
          ◀──────────────────────────── Ready
    Start ────────────────────────────▶            one attempt at a time
          ◀──────────────────────────── Streamed, Told, Emitted, Logged …
          ◀──────────────────────────── Returned or Raised
"""

from __future__ import annotations

import msgspec

from shared.task import PieceKind

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 80 * 1024 * 1024  # a result of 64 MiB, with room for what is around it


class Address(msgspec.Struct, array_like=True, frozen=True):
    """Where a function is found (`worker.authoring.discovery.FunctionAddress`)."""

    folder: str
    module: str
    file: str
    name: str


class Prepare(msgspec.Struct, array_like=True, tag=1):
    """Imports what will be called, so that the first call does not wait for it."""

    addresses: list[Address]


class Start(msgspec.Struct, array_like=True, tag=2):
    """Runs one attempt."""

    address: Address
    task_id: str
    token: str
    attempt: int
    input: bytes
    streams: bool  # its pieces have a reader
    metadata: bytes | None = None
    correlation_id: str = ""
    remaining: float | None = None  # seconds until it is killed


class Ready(msgspec.Struct, array_like=True, tag=16):
    """The child can be given work."""


class Streamed(msgspec.Struct, array_like=True, tag=17):
    """A piece; the child blocks while the worker does not read."""

    kind: PieceKind
    data: bytes


class Told(msgspec.Struct, array_like=True, tag=18):
    """Progress."""

    data: bytes


class Emitted(msgspec.Struct, array_like=True, tag=19):
    """An event."""

    name: str
    data: bytes


class Logged(msgspec.Struct, array_like=True, tag=20):
    """A line of the child's log, as JSON text of its fields."""

    level: str
    fields: bytes


class Returned(msgspec.Struct, array_like=True, tag=21):
    """The function returned; None is no result."""

    result: bytes | None


class Raised(msgspec.Struct, array_like=True, tag=22):
    """The function raised, or its input was refused."""

    code: str
    message: str
    error_type: str | None = None
    details: bytes | None = None  # JSON text: [{"param", "problem"}]


FromWorker = Prepare | Start
FromChild = Ready | Streamed | Told | Emitted | Logged | Returned | Raised

_encoder = msgspec.msgpack.Encoder()
_from_worker = msgspec.msgpack.Decoder(FromWorker)
_from_child = msgspec.msgpack.Decoder(FromChild)


def frame(message: FromWorker | FromChild) -> bytes:
    """Return a message with its length before it.

    Raises:
        ValueError: it is too large.
    """
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"{len(body)} bytes do not fit into a frame of {MAX_FRAME_BYTES}")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_from_worker(body: bytes) -> FromWorker:
    """Return the message of a frame that the worker sent.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _from_worker.decode(body)


def read_from_child(body: bytes) -> FromChild:
    """Return the message of a frame that a child sent.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _from_child.decode(body)
