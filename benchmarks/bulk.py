"""A process of callers that send large bodies and get them back, at fixed times, checked byte for byte.

    python -m benchmarks.bulk HOST PORT SECONDS SIZE:EVERY_MS …

It is a process of its own, so that its copying does not delay the generator that measures small calls.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time

from benchmarks.caller import Address, Request, WrongAnswerError, post
from benchmarks.servers import KEY

TIMEOUT_S = 30.0
_READ = 1024 * 1024


def main() -> None:
    """Call until the time is over; print how many bodies of each size came back."""
    host, port, seconds, *streams = sys.argv[1:]
    until_s = time.monotonic() + float(seconds)
    counts: dict[str, int] = {}
    failed: list[BaseException] = []

    def work(size: int, every_s: float) -> None:
        try:
            counts[str(size)] = _calls((host, int(port)), size, every_s, until_s)
        except BaseException as exc:
            failed.append(exc)

    threads: list[threading.Thread] = []
    for each in streams:
        size, every_ms = (int(part) for part in each.split(":"))
        threads.append(threading.Thread(target=work, args=(size, every_ms / 1000)))
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    print(json.dumps(counts), flush=True)


def _calls(address: Address, size: int, every_s: float, until_s: float) -> int:
    request = _request(size)
    done, due_s = 0, time.monotonic()
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection:
        while due_s < until_s:
            time.sleep(max(0.0, due_s - time.monotonic()))
            connection.sendall(request.wire)
            _check(connection, request, size)
            done += 1
            due_s = max(due_s + every_s, time.monotonic())
    return done


def _request(size: int) -> Request:
    text = os.urandom(size // 2).hex()
    body = f'{{"function":"echo","input":{{"text":"{text}"}},"group":"default","contract":1}}'
    begins = f'{{"success":true,"result":"{text}"'.encode()
    return post("/task", body.encode(), key=KEY, begins=begins)


def _check(connection: socket.socket, request: Request, size: int) -> None:
    got = bytearray()
    while (end := got.find(b"\r\n\r\n")) < 0:
        got += connection.recv(_READ) or _closed()
    head = bytes(got[:end]).lower()
    length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
    while len(got) < end + 4 + length:
        got += connection.recv(_READ) or _closed()
    if not got.startswith(request.status) or not got.startswith(request.begins, end + 4):
        raise WrongAnswerError(f"a body of {size} came back as {bytes(got[:300])!r}")


def _closed() -> bytes:
    raise WrongAnswerError("the server closed a connection that waits for an answer")


if __name__ == "__main__":
    main()
