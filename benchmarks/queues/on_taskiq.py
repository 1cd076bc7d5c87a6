"""Taskiq: its list queue, the fastest of its Redis brokers, and results in Redis."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from done import REDIS_URL, hello, produce_async
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

broker = ListQueueBroker(REDIS_URL, max_connection_pool_size=256).with_result_backend(
    RedisAsyncResultBackend(REDIS_URL, max_connection_pool_size=256, result_ex_time=600)
)


@broker.task(task_name="hello")
async def task(name: str) -> str:
    """Greet."""
    return hello(name)


async def main() -> None:
    """Produce."""
    await broker.startup()
    await produce_async(lambda name: task.kiq(name), int(sys.argv[1]), int(sys.argv[2]))
    await broker.shutdown()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as run:
        run.run(main())
