"""The yardstick: an aiohttp application that runs the same functions and nothing else.

No keys, no checks, no slots, no queue: `python -m benchmarks.bare` serves `/task` and `/stream` with as
little around the function as aiohttp allows an application.
"""

from __future__ import annotations

import asyncio

import msgspec
import uvloop
from aiohttp import web


class Input(msgspec.Struct):
    """What the functions take."""

    name: str = ""
    count: int = 0
    text: str = ""


class Call(msgspec.Struct):
    """The fields of a call that matter here."""

    function: str
    input: Input


_CALL = msgspec.json.Decoder(Call)
_ENCODE = msgspec.json.Encoder().encode


async def hello(name: str) -> str:
    """Greet, as benchmarks/functions/calls.py does."""
    return f"Hello {name}"


async def echo(text: str) -> str:
    """Give back what came."""
    return text


async def task(request: web.Request) -> web.Response:
    """Answer one call."""
    call = _CALL.decode(await request.read())
    result = (
        await hello(call.input.name) if call.function == "hello" else await echo(call.input.text)
    )
    body = _ENCODE({"success": True, "result": result})
    return web.Response(body=body, content_type="application/json")


async def stream(request: web.Request) -> web.StreamResponse:
    """Stream as many pieces as are asked for, a loop turn apart."""
    given = _CALL.decode(await request.read()).input
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    for n in range(given.count):
        await response.write(f"{given.name} piece {n:06d} of a stream\n".encode())
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def serve() -> None:
    """Serve until the process is ended."""
    app = web.Application(client_max_size=64 * 1024**2)
    app.add_routes([web.post("/task", task), web.post("/stream", stream)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as run:
        run.run(serve())
