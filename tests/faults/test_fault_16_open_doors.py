"""Fault 16: dashboard, queue UI and log proxy are open, and the log proxy sends the cluster key to any URL."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from tests.fakes.hook_receiver import hook_receiver
from tests.fakes.in_process_balancer import AS_CLIENT, RunningBalancer, running_balancer
from tests.fakes.in_process_worker import running_worker
from tests.fakes.task_functions import hello

PUBLIC = {"/health", "/docs"}  # /docs is a page without data: it asks for the key


def _routes(balancer: RunningBalancer) -> set[tuple[str, str]]:
    """Return every (method, path) that the balancer serves, with an id where one belongs."""
    app: web.Application = balancer.balancer.app
    return {
        (route.method, route.resource.canonical.replace("{id}", "x"))
        for route in app.router.routes()
        if route.resource is not None
    }


async def test_every_door_but_the_public_ones_is_closed(tmp_path: Path) -> None:
    """Whatever route there is, without the key it answers 401; the public ones show no secret."""
    async with running_worker(hello) as worker, running_balancer(tmp_path, worker.url) as balancer:
        routes = _routes(balancer)
        assert ("POST", "/task") in routes
        for method, path in sorted(routes):
            reply = await balancer.ask(method, path, headers={})
            if any(path == public or path.startswith(f"{public}/") for public in PUBLIC):
                assert reply.status in (200, 404), path
                assert worker.url.encode() not in reply.body
            else:
                assert reply.status == 401, (method, path)


async def test_the_log_is_the_balancer_s_own_and_fetched_from_nowhere(tmp_path: Path) -> None:
    """`/logs` takes no address: no request with our key goes anywhere, whatever a caller writes."""
    async with (
        hook_receiver() as stranger,
        running_worker(hello) as worker,
        running_balancer(tmp_path, worker.url) as balancer,
    ):
        for name in ("url", "worker", "target", "host"):
            reply = await balancer.ask(
                "GET", f"/logs?{name}={stranger.url('/logs')}", headers=AS_CLIENT
            )
            assert reply.status in (200, 400)
        for path in ("/dashboard/api/logs", "/api/logs", "/logs/x", "/bull/api/queues"):
            reply = await balancer.ask("GET", f"{path}?url={stranger.url('/logs')}")
            assert reply.status == 404
        assert stranger.received == []
