"""Random histories of several balancers on one Redis, beside a model that is a sorted list."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from balancer.store.ports_shared import Claimed
from balancer.store.redis import RedisStore
from shared.ids import TaskId
from shared.system import SystemClock
from tests.fakes.stored_tasks import accept, after, finish, shared_task, succeeded

pytestmark = pytest.mark.redis

POOL = ("default", 1)
FUNCTIONS = ("x", "y", "z")
NAMES = ("a", "b", "c")
STEPS = 120


@dataclass
class Model:
    """What should be so.

    Attributes:
        waiting: (priority, number, function) of tasks that nobody has.
        place: the same, of every task.
        owned: task and token by number, of each balancer.
        former: (balancer, task) of what was taken from it.
    """

    waiting: list[tuple[float, int, str]] = field(default_factory=list[tuple[float, int, str]])
    place: dict[int, tuple[float, int, str]] = field(
        default_factory=dict[int, tuple[float, int, str]]
    )
    owned: dict[str, dict[int, Claimed]] = field(default_factory=lambda: {n: {} for n in NAMES})
    former: list[tuple[str, Claimed]] = field(default_factory=list[tuple[str, Claimed]])

    def next(self, room: dict[str, int], total: int) -> list[int]:
        """Return the numbers of the tasks that a claim must get, and take them."""
        free, got = dict(room), list[int]()
        for entry in sorted(self.waiting):
            if len(got) < total and free.get(entry[2], 0):
                free[entry[2]] -= 1
                got.append(entry[1])
        self.waiting = [entry for entry in self.waiting if entry[1] not in got]
        return got


def number_of(claimed: Claimed) -> int:
    """Return the number of a task `t<number>.<part>`."""
    return int(claimed.task.task_id[1:].partition(".")[0])


class History:
    """One history.

    Args:
        stores: one for each balancer.
        chance: what happens.
    """

    def __init__(self, stores: dict[str, RedisStore], chance: Random) -> None:
        self.stores = stores
        self.chance = chance
        self.model = Model()
        self.requests = 0
        self.ended = 0

    async def run(self) -> None:
        """Make so many steps, then end all that is left."""
        steps = (self.accept, self.accept, self.claim, self.claim, self.give_back, self.answer,
                 self.take_over, self.answer_late)  # fmt: skip
        for _ in range(STEPS):
            await self.chance.choice(steps)(self.chance.choice(NAMES))
        for name in NAMES:
            while self.model.owned[name]:
                await self.answer(name)
        left = await self.stores["a"].queue.claim("last", POOL, dict.fromkeys(FUNCTIONS, 999), 999)
        assert [number_of(each) for each in left] == [n for _, n, _ in sorted(self.model.waiting)]
        assert await self.stores["b"].tasks.count() == len(left)
        for each in left:
            await self.stores["a"].queue.give_back(each.task.task_id, each.token)
            await finish(self.stores["c"], each.task.task_id)

    async def accept(self, name: str) -> None:
        """Accept a task."""
        number = len(self.model.place) + 1
        priority, function = float(self.chance.randint(1, 3)), self.chance.choice(FUNCTIONS)
        task = shared_task(number, function=function, priority=priority)
        await accept(self.stores[name], task)
        self.model.place[number] = (priority, number, function)
        self.model.waiting.append(self.model.place[number])

    async def claim(self, name: str) -> None:
        """Claim, and now and then claim again as if the answer had been lost."""
        self.requests += 1
        request = f"{name}-{self.requests}"
        room = {function: self.chance.randint(0, 2) for function in FUNCTIONS}
        total = self.chance.randint(1, 4)
        expected = self.model.next(room, total)
        queue = self.stores[name].queue
        claimed = await queue.claim(request, POOL, room, total)
        assert [number_of(each) for each in claimed] == expected
        if expected and self.chance.random() < 0.5:
            assert await queue.claim(request, POOL, room, total) == claimed
        self.model.owned[name].update((number_of(each), each) for each in claimed)

    async def give_back(self, name: str) -> None:
        """Put one back in its own place."""
        if owned := self.model.owned[name]:
            claimed = owned.pop(self.chance.choice(sorted(owned)))
            assert await self.stores[name].queue.give_back(claimed.task.task_id, claimed.token)
            self.model.waiting.append(self.model.place[number_of(claimed)])

    async def answer(self, name: str) -> None:
        """End one."""
        if owned := self.model.owned[name]:
            claimed = owned.pop(self.chance.choice(sorted(owned)))
            assert await self._answered(name, claimed)
            assert not await self._answered(name, claimed)  # a task ends once

    async def take_over(self, name: str) -> None:
        """Take over what another balancer has, in two steps."""
        dead = self.chance.choice([other for other in NAMES if other != name])
        for limit in (1, 99):
            self.requests += 1
            taken = await self.stores[name].queue.takeover(f"{name}-{self.requests}", dead, limit)
            for each in taken:
                had = self.model.owned[dead].pop(number_of(each))
                assert each.token == had.token
                self.model.former.append((dead, had))
                self.model.owned[name][number_of(each)] = each
        assert self.model.owned[dead] == {}

    async def answer_late(self, name: str) -> None:
        """Let a former owner answer, unless the task has come back to it."""
        late = [each for who, each in self.model.former if who == name]
        late = [each for each in late if number_of(each) not in self.model.owned[name]]
        if late:
            assert not await self._answered(name, self.chance.choice(late))

    async def _answered(self, name: str, claimed: Claimed) -> bool:
        queue, task_id = self.stores[name].queue, TaskId(claimed.task.task_id)
        return await queue.answer(task_id, claimed.token, succeeded(), None, after(9), None)


@pytest.mark.parametrize("seed", range(6))
async def test_every_task_has_one_owner_and_one_end(url: str, seed: int) -> None:
    """Whatever balancers claim, give back, end, take over or say too late."""
    stores = {
        name: await RedisStore.open(url, boot=name, clock=SystemClock(), shared=True)
        for name in NAMES
    }
    try:
        await History(stores, Random(seed)).run()
    finally:
        for store in stores.values():
            await store.close()
