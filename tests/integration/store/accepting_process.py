"""A process that accepts tasks as fast as it can and prints the id of each that is durable.

Run by test_durability.py: python accepting_process.py <database>. It never ends by itself.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count

from balancer.store.ports import Store
from balancer.store.sqlite import SqliteStore
from shared.system import SystemClock
from tests.fakes.stored_tasks import accept, finish, stored_task, webhook

CALLERS = 32


async def _caller(store: Store, numbers: count[int]) -> None:
    for number in numbers:
        await accept(store, stored_task(number))
        print(f"accepted t{number}", flush=True)
        if number % 3 == 0:
            await finish(store, f"t{number}", row=webhook(f"t{number}"))
            print(f"finished t{number}", flush=True)


async def _main(path: str) -> None:
    store = await SqliteStore.open(path, clock=SystemClock())
    numbers = count(1)
    await asyncio.gather(*(_caller(store, numbers) for _ in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
