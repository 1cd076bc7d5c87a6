"""Durable tasks: accepted a second and done a second, beside the Python task queues.

Ours: `mode: webhook` on the default store, SQLite with an fsync before a task is accepted; done means
that its result has arrived at the webhook. Theirs: Redis without persistence, results kept; done means
that the function has run. The same function, one worker process each, one producer process each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import rivals, servers
from benchmarks.caller import Address, Request, WrongAnswerError, post
from benchmarks.load import each_once
from benchmarks.plan import Plan, interleaved, median, ratio
from benchmarks.process import Child
from benchmarks.report import Goal, Section, Table
from benchmarks.servers import KEY, ROOT

CALLERS = 64
SLOTS = 64
DRAIN_S = 120.0
POLL_S = 0.02
OURS = "Cabrank, webhook on SQLite"

Pair = tuple[float, float]


def run(plan: Plan) -> Section:
    """Measure."""
    count = 1000 if plan.quick else 4000
    section = Section("webhooks")
    there, missing = rivals.installed()
    for rival in missing:
        section.notes.append(f"{rival.name} is not installed: make bench does it. LEFT OUT")
    with ExitStack() as stack:
        fleet = stack.enter_context(servers.fleet(OURS, slots=SLOTS, fast_lane=True))
        hook = Child("the hook", [sys.executable, "-m", "benchmarks.hook"], folder=ROOT)
        stack.enter_context(hook)
        turns: dict[str, Callable[[], Pair]] = {
            OURS: partial(_ours, fleet.address, hook.address(), count)
        }
        redis_url = stack.enter_context(rivals.redis())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cabrank-bench-")))
        for n, rival in enumerate(there):
            running = rivals.Running(rival, f"{redis_url}/{n}", folder)
            stack.callback(running.end)
            running.turn(50)  # until its worker is up
            turns[rival.name] = partial(running.turn, count)
        seen = interleaved(plan.few, turns)
    return _judged(section, seen, count)


def _judged(section: Section, seen: dict[str, list[Pair]], count: int) -> Section:
    title = f"{count:,} durable tasks (theirs on a Redis that keeps nothing on disk)"
    columns = ("system", "accepted/s", "done/s", "ours: accepted", "ours: done")
    table = Table(title, columns, ratios=columns[3:])
    section.tables.append(table)
    for name, pairs in seen.items():
        accepted, done = ([pair[n] for pair in pairs] for n in (0, 1))
        more = [ratio((pair[n] for pair in seen[OURS]), (p[n] for p in pairs)) for n in (0, 1)]
        table.add(name, median(accepted), median(done), *more)
    others = [name for name in seen if name != OURS]
    for n, what in enumerate(("accepted/s", "done/s")) if others else ():
        best = max(others, key=lambda name: median(pair[n] for pair in seen[name]))
        found = ratio((pair[n] for pair in seen[OURS]), (pair[n] for pair in seen[best]))
        section.goals.append(Goal(f"durable tasks {what} / the best of them ({best})", found, 1.0))
    return section


def _ours(address: Address, hook: Address, count: int) -> Pair:
    _ask(hook, "DELETE")
    requests = [_request(f"Andera-{n}", hook) for n in range(count)]
    began_s = time.monotonic()
    accepted = each_once(address, requests, CALLERS)
    while (seen := _ask(hook, "GET"))["count"] < count:
        if time.monotonic() - began_s > DRAIN_S:
            raise WrongAnswerError(f"{seen['count']:.0f} of {count} webhooks came")
        time.sleep(POLL_S)
    return accepted.rate, count / (seen["last_s"] - began_s)


def _request(name: str, hook: Address) -> Request:
    host, port = hook
    body = (
        f'{{"function":"hello","input":{{"name":"{name}"}},"group":"default","contract":1,'
        f'"mode":"webhook","webhook":{{"url":"http://{host}:{port}/hook"}}}}'
    )
    begins = (
        b'{"success":true,"message":"Task accepted, result will be sent to webhook","task_id":"'
    )
    return post("/task", body.encode(), key=KEY, status=202, begins=begins)


def _ask(hook: Address, method: str) -> dict[str, float]:
    host, port = hook
    request = urllib.request.Request(f"http://{host}:{port}/", method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())
