"""One frame of every kind of message, and its golden file: a hex dump with the decoded form beside.

A golden file is what another program must send and understand. To write those that are missing, for a
new kind, run `python -m tests.unit.shared.protocol.golden_frames`. One that is there is never
rewritten: a frame that no longer matches its file breaks every peer of an older version.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared.protocol import messages as m
from shared.protocol.codec import encode, kind_of

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "link"
BYTES_A_LINE = 16

EXAMPLES: tuple[m.AnyMessage, ...] = (
    m.Hello(1, 1, "balancer-1", "b7f3", 2.0),
    m.Dispatch(
        n=1,
        token="b7f3-1a",
        task_id="b7f3-19",
        function="hello",
        mode="sync",
        input=b'{"name":"Ada"}',
        correlation_id="c-42",
        priority=3.0,
        attempt=2,
        durable=True,
        timeout=5.0,
        remaining=29.5,
        metadata=b'{"k":1}',
        body_size=0,
        credit=65536,
        metadata_size=0,
    ),
    m.Cancel("b7f3-1a", "cancelled"),
    m.Body("b7f3-1a", b'{"name":', last=False),
    m.Ack(["b7f3-1a", "b7f3-1b"]),
    m.Credit("b7f3-1a", 32768),
    m.Demand(12, 1.0),
    m.Maintenance(on=True),
    m.Welcome(
        version=1,
        worker_id="worker-1",
        boot_id="w55e",
        software="cabrank 0.1.0",
        group="default",
        contract=1,
        functions=b'[{"name":"hello"}]',
        report=m.Report(0, 9, 10, 1),
        holding=[m.Holding("b7f3-1a", "b7f3-19", 2, True, True, "hello", 1)],
        facts=b'{"tags":{"python":"3.11"}}',
    ),
    m.Report(seen=7, available=3, limit=10, used=6, queue=2, stuck=1, maintenance=False),
    m.Refused("b7f3-1a", "no_slot", "Worker has no free slot", m.Report(8, 0, 10, 10)),
    m.Accepted("b7f3-1a"),
    m.Chunk("b7f3-1a", 1, "text", "gr\u00fc\u00df".encode(), more=False),
    m.Finished(
        token="b7f3-1a",
        task_id="b7f3-19",
        status="failed",
        result=None,
        code="function_error",
        message="division by zero",
        details=None,
        error_type="ZeroDivisionError",
        duration=0.25,
        body_size=0,
    ),
    m.Part("b7f3-1a", b'"a long', last=True),
    m.Facts(b'{"tags":{"python":"3.12"}}', None),
    m.Event("b7f3-1a", "row", b"[1,2]"),
    m.Ping(3),
    m.Pong(3),
    m.Goodbye("shutting_down", "Process is shutting down"),
    m.Unsupported(31, "unknown_message"),
)


def path_of(message: m.AnyMessage) -> Path:
    """Return where the golden file of a message's kind is."""
    return GOLDEN / f"{type(message).__name__.lower()}.txt"


def golden_text(message: m.AnyMessage) -> str:
    """Return the golden file of a frame that holds one message."""
    kind = type(message)
    head = f"# {kind.__name__}, kind {kind_of(kind)}: {(kind.__doc__ or '').strip()}\n"
    return head + _dump(encode([message])) + "\n" + "\n".join(_fields(message)) + "\n"


def frame_in(text: str) -> bytes:
    """Return the frame whose hex dump stands in a golden file."""
    rows = [line for line in text.splitlines() if line[:4].isalnum() and line[4:6] == "  "]
    return bytes.fromhex("".join(row[6 : 6 + 3 * BYTES_A_LINE] for row in rows))


def _dump(frame: bytes) -> str:
    lines: list[str] = []
    for start in range(0, len(frame), BYTES_A_LINE):
        row = frame[start : start + BYTES_A_LINE]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:04x}  {row.hex(' '):<{3 * BYTES_A_LINE}} {seen}\n")
    return "".join(lines)


def _fields(message: m.AnyMessage) -> list[str]:
    """Return the decoded form, a field a line, in the order of the wire."""
    fields = msgspec.structs.asdict(message)
    return [f"{name} = {value!r}" for name, value in fields.items()]


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for example in EXAMPLES:
        if not path_of(example).exists():
            path_of(example).write_text(golden_text(example), "utf-8")
