"""Commands to copy into a terminal while the demo is up."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from cabrank.cli.config import generated_key

if TYPE_CHECKING:
    from cabrank.cli.fleet_plan import FleetPlan

EXAMPLE_HOOK = "http://127.0.0.1:8000/hook"


def try_lines(plan: FleetPlan) -> list[tuple[str, str]]:
    """Return pairs of what a command does and the command.

    A key that was generated here is written out; one that somebody configured is not.

    Args:
        plan: the fleet that is up.
    """
    key = plan.key if plan.key == generated_key() else "$LB_AUTH_KEY"
    curl = f'curl -sS -H "Authorization: Bearer {key}"'
    hello = {"function": "hello", "contract": 1, "input": {"name": "Ada"}}
    walk = {"function": "code_walk", "contract": 1, "mode": "stream", "input": {"package": "json"}}
    slow = {
        "function": "slow",
        "contract": 1,
        "mode": "webhook",
        "input": {"seconds": 20},
        "webhook": {"url": EXAMPLE_HOOK},
    }
    worker = plan.worker_ids[0]
    return [
        ("sync", f"{curl} {plan.url}/task -d {_json(hello)}"),
        ("stream, as Server-Sent Events; without that header as plain text",
         f"{curl} -N -H 'Accept: text/event-stream' {plan.url}/task -d {_json(walk)}"),
        ("webhook: 202 and a task id at once; the result goes to the URL when somebody listens there",
         f"{curl} {plan.url}/task -d {_json(slow)}"),
        ("status of a task, with the id of the answer above", f"{curl} {plan.url}/tasks/TASK_ID"),
        ("the newest tasks", f"{curl} '{plan.url}/tasks?limit=5'"),
        ("the fleet", f"{curl} {plan.url}/workers"),
        ("drain a worker: it finishes what it runs and gets nothing new",
         f"{curl} -X POST {plan.url}/workers/{worker}/off"),
        ("and give it work again", f"{curl} -X POST {plan.url}/workers/{worker}/on"),
        ("the same from this command line", f"cabrank workers --url {plan.url}"),
    ]  # fmt: skip


def _json(value: object) -> str:
    return shlex.quote(json.dumps(value))
