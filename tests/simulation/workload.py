"""What the callers of a world ask for, drawn from its seed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from shared.task import Mode
from tests.simulation.cases import Order

if TYPE_CHECKING:
    from shared.ids import LaneKey, PoolKey

FUNCTIONS = ("plain", "plain", "safe", "retried", "retried", "extra", "blocking", "pieces")
BIG = 90_000  # bytes of a large input: it is left in the store and follows its dispatch
RUNS_S = (
    0.3,
    0.6,
    1.5,
    2.5,
)  # mean time of a run: in some worlds the fleet is idle, in others late
SOFT_LIMIT_S = 20.0  # deadlines of calls lie below it


def orders(chance: Random, count: int, pools: list[PoolKey], span_s: float) -> list[Order]:
    """Return what callers ask for, in the order of time.

    Args:
        chance: draws it.
        count: how many.
        pools: groups and contracts that are hosted.
        span_s: they come within so many seconds; a part of them in bursts.
    """
    bursts = [chance.uniform(0.0, span_s) for _ in range(3)]
    moments = sorted(
        chance.choice(bursts) + chance.uniform(0.0, 0.05)
        if chance.random() < 0.3
        else chance.uniform(0.0, span_s)
        for _ in range(count)
    )
    run_s = chance.choice(RUNS_S)
    return [_order(chance, n, at_s, chance.choice(pools), run_s) for n, at_s in enumerate(moments)]


def _order(chance: Random, n: int, at_s: float, pool: PoolKey, run_s: float) -> Order:
    function = chance.choice(FUNCTIONS)
    lane: LaneKey = (*pool, function)
    if chance.random() < 0.01:
        lane = (pool[0], pool[1], "nobody_hosts_this")
    mode = Mode.STREAM if function == "pieces" else Mode.SYNC
    if chance.random() < 0.45:
        mode = Mode.WEBHOOK
    order = Order(
        n=n, at_s=at_s, mode=mode, lane=lane, fields=_fields(chance, n, function, mode, run_s)
    )
    order.priority = chance.choice((1, 1, 1, 2, 3))
    # A durable task that nobody can run waits for a host until its deadline.
    if mode is not Mode.WEBHOOK or lane[2] not in FUNCTIONS or chance.random() < 0.15:
        order.deadline_s = round(chance.uniform(1.0, SOFT_LIMIT_S), 2)
    if chance.random() < 0.2:
        order.timeout_s = round(chance.uniform(0.5, 3.0), 2)
    if chance.random() < 0.3:
        order.max_attempts = chance.randint(1, 4)
    if chance.random() < 0.08:
        order.leaves_after_s = chance.choice((0.0, 0.002, chance.uniform(0.0, 3.0)))
    order.webhook = chance.random() < 0.8
    order.reads_per_s = chance.choice((20_000.0, 200_000.0, 5e6))
    if "fate" in order.fields and order.fields["fate"] == "hang" and order.timeout_s is None:
        order.timeout_s = 1.5
    return order


def _fields(chance: Random, n: int, function: str, mode: Mode, mean_s: float) -> dict[str, object]:
    run_s = round(min(chance.expovariate(1 / mean_s), 5 * mean_s), 3)
    if function == "blocking":
        return {"n": n}
    fails = chance.choice((0, 0, 0, 0, 1, 2, 9))
    if function == "pieces":
        count = chance.randint(0, 12)
        size = chance.choice((0, 0, 0, 3_000, 30_000, 80_000))
        return {"n": n, "run_s": run_s / 4, "count": count, "fails": fails, "size": size}
    fate = chance.choice(("ok",) * 9 + ("hang", "stubborn", "large"))
    if chance.random() < 0.005:
        fate = "poison"
    fields: dict[str, object] = {"n": n, "run_s": run_s, "fate": fate, "fails": fails}
    if chance.random() < 0.03 and mode is Mode.WEBHOOK:
        fields["pad"] = "x" * BIG
    return fields
