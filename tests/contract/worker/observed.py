"""What a real Andera worker was seen to do: pairs of request and answer, and bytes on the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "andera"
_ANSWER = re.compile(r"(?P<body>.*)\n\[HTTP (?P<status>\d{3}) (?P<type>[^ \]]+)", re.DOTALL)


class Observed(NamedTuple):
    """One answer of Andera's worker."""

    status: int
    body: str

    @property
    def json(self) -> dict[str, object]:
        """Return the body as a JSON object."""
        value: dict[str, object] = json.loads(self.body)
        return value


class Frame(NamedTuple):
    """Bytes that went one way on one connection; a client's WebSocket frames are masked."""

    connection: int
    port: str
    to_worker: bool
    data: bytes


def observed_answers(file: str = "observed-worker.txt") -> dict[str, Observed]:
    """Return the answers that a file tells, by the name of their request."""
    text = (FOLDER / file).read_text("utf-8")
    found: dict[str, Observed] = {}
    for block in text.split("\n--- "):
        name, _, rest = block.removeprefix("--- ").partition("\n")
        match = _ANSWER.match(rest)
        if match is not None:
            found[name] = Observed(int(match["status"]), match["body"])
    return found


def observed_log_line() -> str:
    """Return a line of Andera's `/logs`; the file keeps only the beginning of that answer."""
    text = (FOLDER / "observed-worker.txt").read_text("utf-8")
    return text.partition('{"logs":["')[2].partition('"')[0]


def captured_frames() -> Iterator[Frame]:
    """Return what was captured between Andera's balancer and its worker, in order."""
    for line in (FOLDER / "frames.jsonl").read_text("utf-8").splitlines():
        seen = json.loads(line)
        to_worker = seen["dir"] == "balancer>worker"
        yield Frame(seen["conn"], seen["port"], to_worker, seen["bytes"].encode("latin-1"))


def exchanges() -> list[tuple[bytes, bytes]]:
    """Return the captured HTTP requests with their answers."""
    waiting: dict[int, bytes] = {}
    pairs: list[tuple[bytes, bytes]] = []
    for frame in captured_frames():
        if frame.port != "http":
            continue
        if frame.to_worker:
            waiting[frame.connection] = waiting.get(frame.connection, b"") + frame.data
        elif frame.connection in waiting:
            pairs.append((waiting.pop(frame.connection), frame.data))
    return pairs
