"""arq: many jobs at once and a short poll, because its defaults wait half a second between looks."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from done import REDIS_URL, hello, produce_async

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
SETTINGS = RedisSettings.from_dsn(REDIS_URL)


async def task(_: dict[str, object], name: str) -> str:
    """Greet."""
    return hello(name)


class WorkerSettings:
    """What the arq command reads."""

    functions = (task,)
    redis_settings = SETTINGS
    max_jobs = 256
    poll_delay = 0.01
    keep_result = 600
    log_results = False


async def main() -> None:
    """Produce."""
    pool = await create_pool(SETTINGS)
    await produce_async(
        lambda name: pool.enqueue_job("task", name), int(sys.argv[1]), int(sys.argv[2])
    )
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(main())
