"""What must hold at any time, looked at from outside.

`settled` and `slots` look at what a step has touched, after each step; `sweep` looks at everything,
every few hundred steps; `drained` is for the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.ids import WorkerId
from shared.task_state import TaskStatus
from tests.simulation.cases import Case, Fate, Stand
from tests.simulation.watched_engine import can_take

if TYPE_CHECKING:
    from balancer.core.live_worker import LiveWorker
    from tests.simulation.hosts import Host
    from tests.simulation.watched_engine import WatchedEngine
    from tests.simulation.world import World

OVERDUE_S = 0.5  # ticks and wheels may be so late
SOON_S = 2.0  # what a few messages and ticks take in a fleet that is left alone


def settled(world: World) -> None:
    """No task waits while a slot that may run it is free, of what was touched."""
    witness, engine = world.witness, world.control.engine
    if witness.lanes:
        lanes, witness.lanes = witness.lanes, {}
        for lane in lanes:
            first = witness.queues.first(lane)
            if first is not None:
                for live in engine.known():
                    witness.check(not can_take(live, lane), f"{first} waits, {live.id} has a slot")
    if engine.touched:
        touched, engine.touched = engine.touched, {}
        for worker in touched:
            live = engine.scheduler.worker(worker)
            if live is not None:
                _serves_all(world, live)


def slots(world: World, host: Host) -> None:
    """Every slot of a worker is accounted for, by code that really runs."""
    check, gate = world.witness.check, host.engine.gate
    held = {attempt.token for attempt in host.engine.attempts()}
    running = [run for run in world.witness.stage.get(host.process, {}).values() if run.running]
    check(len(running) <= host.limit, f"{host.address} runs {len(running)} of {host.limit}")
    for run in running:
        check(run.token in held, f"{host.address}: {run.token} runs and holds no slot")
    check(0 <= gate.used <= host.limit, f"{host.address} uses {gate.used} of {host.limit} slots")
    check(gate.used == len(held), f"{host.address}: {gate.used} slots for {len(held)} attempts")


def sweep(world: World) -> None:
    """Look at everything."""
    for host in world.hosts.values():
        if host.up:
            slots(world, host)
            if not host.process.frozen:
                _gives_up(world, host)
    if world.control.up and not world.control.process.frozen:
        engine = world.control.engine
        for live in engine.known():
            _serves_all(world, live)
            _agrees(world, live)
            _consistent(world, live)
            _forgets_the_lost(world, engine, live)
        _holds_all(world, engine)
        _ends_in_time(world)
        _stops_what_is_over(world)


def drained(world: World) -> list[str]:
    """Return what is left; nothing, when everything has drained."""
    left = [f"{case.task_id}: {case.stand}" for case in world.witness.cases.values() if _open(case)]
    left += [
        f"{host.address}: {reason}" for host in world.hosts.values() if (reason := _busy(host))
    ]
    if not world.control.up or not world.control.fleet.round_ended:
        return [*left, "the balancer is not there"]
    engine = world.control.engine
    counts = engine.scheduler.counts()
    if counts[:5] != (0, 0, 0, 0, 0) or engine.durable_unfinished:
        left.append(f"the balancer holds {counts}, unfinished {engine.durable_unfinished}")
    due_s = engine.scheduler.next_tick_s()
    if due_s is not None:
        left.append(f"something is due at {due_s:.3f}")
    for live in engine.known():
        if live.running or live.loading or live.ledger.free != live.ledger.limit or not live.up:
            free = f"{live.ledger.free} of {live.ledger.limit} free"
            left.append(f"{live.id}: {len(live.running)} running, {free}, up {live.up}")
    return left


def kept(world: World) -> None:
    """Every durable task has one end on the disk, and one webhook if it wanted one."""
    check = world.witness.check
    shelves = world.disk.shelves
    rows: dict[str, int] = {}
    for row in shelves.webhooks.values():
        rows[row.row.task_id] = rows.get(row.row.task_id, 0) + 1
    for case in world.witness.cases.values():
        if not case.durable or case.task_id is None:
            continue
        check(case.kept or not case.promised, f"{case.task_id} was accepted and is not kept")
        if case.kept:
            record = shelves.tasks[case.task_id].stored.record
            check(record.finished_at is not None, f"{case.task_id} has no end: {record.status}")
            check(case.finished, f"{case.task_id} ended without a commit")
            wanted = int(case.order.webhook)
            found = rows.get(case.task_id, 0)
            check(found == wanted, f"{case.task_id} has {found} webhooks, not {wanted}")


# Of one worker


def _serves_all(world: World, live: LiveWorker) -> None:
    for function in live.eligible:
        lane = (*live.pool_key, function)
        first = world.witness.queues.first(lane)
        if first is not None:
            world.witness.check(not can_take(live, lane), f"{first} waits, {live.id} has a slot")


def _agrees(world: World, live: LiveWorker) -> None:
    """On a link where nothing is on its way, both sides count the same free slots."""
    host = world.hosts[live.id]
    now_s = world.time.now_s
    quiet = host.up and live.up and not live.silent and not live.loading
    quiet = quiet and not host.process.frozen and live.boot == host.process.name
    quiet = quiet and now_s - max(host.healthy_s, world.control.process.healthy_s) > SOON_S
    connections = world.network.of(host.address)
    if not quiet or len(connections) != 1 or not connections[0].quiet:
        return
    if host.process.active_s >= now_s or world.control.process.active_s >= now_s:
        return  # in the middle of something
    sessions = host.peers.sessions()
    if len(sessions) == 1 and not sessions[0].link.buffered:
        told = sessions[0].report().available
        world.witness.check(
            live.ledger.free == told, f"{live.id} offers {told}, {live.ledger.free} are known"
        )


def _consistent(world: World, live: LiveWorker) -> None:
    """What runs on a worker is what its tasks say."""
    for token, task in live.running.items():
        world.witness.check(
            task.token == token and task.worker == live.id and task.status is TaskStatus.RUNNING,
            f"{task.id} is said to run on {live.id}",
        )
    known = world.control.fleet.get(live.id)
    if known is not None and known.port is not None and not known.retired:
        world.witness.check(
            live.eligible == known.core_facts().eligible, f"{live.id}: {sorted(live.eligible)}"
        )


def _forgets_the_lost(world: World, engine: WatchedEngine, live: LiveWorker) -> None:
    """When the window of a worker is over, nothing counts as running there."""
    settings, now_s = world.control.settings, world.time.now_s
    for since, window_s in (
        (engine.lost_s.get(live.id), settings.resume_window_s),
        (engine.silent_s.get(live.id), settings.stall_window_s),
    ):
        if since is not None:
            # A balancer that was stopped begins its windows anew.
            over_s = max(since, world.control.process.healthy_s) + window_s + SOON_S
            world.witness.check(
                now_s < over_s or not live.running,
                f"{live.id} is away since {since:.3f} and runs {list(live.running)}",
            )


def _gives_up(world: World, host: Host) -> None:
    """A worker ends the calls of a balancer that stays away."""
    engine, now_s = host.engine, world.time.now_s
    patience_s = world.control.settings.resume_window_s + SOON_S
    for attempt in engine.attempts():
        away_s = getattr(attempt.owner, "away_since_s", None)
        if attempt.outcome is None and not attempt.durable and isinstance(away_s, float):
            world.witness.check(
                now_s < max(away_s, host.process.healthy_s) + patience_s,
                f"{host.address} still runs {attempt.token} for a balancer that is gone",
            )


def _busy(host: Host) -> str:
    """Say why a worker is not idle, or "" when it is."""
    if not host.up:
        return "is down"
    gate = host.engine.gate
    if gate.used or host.engine.attempts() or len(host.engine.direct):
        return f"uses {gate.used} slots, {len(host.engine.direct)} wait"
    if len(host.peers.outbox):
        return f"holds {len(host.peers.outbox)} results"
    if any(caller.outcome is None for caller in host.callers):
        return "has not answered a direct caller"
    return ""


# Of all tasks


def _holds_all(world: World, engine: WatchedEngine) -> None:
    """The balancer holds exactly the open tasks, each where it stands."""
    open_ids = {case.task_id for case in world.witness.cases.values() if _held(case)}
    held = {task.id for task in engine.scheduler.tasks()}
    world.witness.check(
        held == open_ids, f"held but not open, or open but not held: {held ^ open_ids}"
    )
    counts = engine.scheduler.counts()
    waiting = sum(
        case.stand in (Stand.QUEUED, Stand.HELD_BACK, Stand.SCHEDULED)
        for case in world.witness.cases.values()
    )
    world.witness.check(counts.waiting == waiting, f"{counts.waiting} of {waiting} tasks wait")


def _ends_in_time(world: World) -> None:
    """No task is open after its deadline."""
    awake_s = world.control.process.healthy_s
    if world.time.now_s - awake_s < OVERDUE_S:
        return
    case = world.witness.overdue(world.time.now_s - OVERDUE_S)
    world.witness.check(case is None, f"{case and case.task_id} is open after its deadline")


def _stops_what_is_over(world: World) -> None:
    """Code whose task has ended is told to stop, wherever the balancer can say so."""
    now_s, engine = world.time.now_s, world.control.engine
    awake_s = world.control.process.healthy_s
    for host in world.hosts.values():
        live = engine.scheduler.worker(WorkerId(host.address)) if host.up else None
        if live is None or not live.up or live.silent or host.process.frozen:
            continue
        connections = world.network.of(host.address)
        if len(connections) != 1 or not connections[0].whole:
            continue
        for attempt in host.engine.attempts():
            known = world.witness.attempts.get(attempt.token)
            if known is None or attempt.outcome is not None or known.fate is Fate.CURRENT:
                continue
            up_s = engine.up_s.get(live.id, now_s)
            since_s = max(known.over_s, host.healthy_s, host.process.healthy_s, awake_s, up_s)
            world.witness.check(
                now_s - since_s < SOON_S,
                f"{host.address} still runs {attempt.token}, which is over",
            )


def _held(case: Case) -> bool:
    return case.stand not in (Stand.NEW, Stand.ENDED)


def _open(case: Case) -> bool:
    return _held(case) or (case.durable and case.kept and not case.finished)
