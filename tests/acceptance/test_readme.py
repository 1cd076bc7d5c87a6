"""README.md is run, command by command, in a clean clone: what it says is what happens."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.fakes.clean_clone import clone_into, install_into
from tests.fakes.hook_receiver import HookReceiver
from tests.fakes.processes import AUTH_KEY, DEFAULTS, LB_KEY, PATIENCE_S, QUICK, Bench, Running
from tests.fakes.readme import placed, readme_blocks, readme_code
from tests.fakes.waiting import wait_until

pytestmark = pytest.mark.acceptance

HOOK = "http://127.0.0.1:9000/done"  # as README.md has it


class Reader(Bench):
    """A new user in a clean clone, who types what README.md says.

    Args:
        clone: where they are.
        name: of their logs.
    """

    def __init__(self, clone: Path, name: str) -> None:
        super().__init__(clone)
        self.keys = {"PATH": f"{clone}/.venv/bin{os.pathsep}{os.environ['PATH']}"}
        self._name = name
        self._typed = 0

    def types(self, line: str, settings: Mapping[str, str] = DEFAULTS) -> Running:
        """Start a line of a shell."""
        self._typed += 1
        shell = ("bash", "-euo", "pipefail", "-c", line)
        return self.start(f"{self._name}-{self._typed}", shell, settings)

    async def sees(
        self, line: str, settings: Mapping[str, str] = DEFAULTS, timeout_s: float = PATIENCE_S
    ) -> str:
        """Return what a line of a shell prints, which must end well."""
        typed = self.types(line, settings)
        code = await typed.ended(timeout_s)
        assert code == 0, f"{line} ended with {code}:\n{typed.text()}"
        return typed.text()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clean clone with its environment."""
    folder = clone_into(tmp_path_factory.mktemp("clone"))
    install_into(folder)
    return folder


@contextmanager
def new_reader(clone: Path, name: str) -> Generator[Reader]:
    """Have a new user in a clone while the context lasts."""
    reader = Reader(clone, name)
    try:
        yield reader
    finally:
        reader.close()
        print(reader.logs())  # shown when the test failed


@pytest.fixture
def reader(clone: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Return a new user in the clone."""
    name = cast("str", request.node.name)  # pyright: ignore[reportUnknownMemberType]  # untyped in pytest
    with new_reader(clone, name) as reader:
        yield reader


@pytest.fixture(scope="module")
def fleet(clone: Path) -> Iterator[str]:
    """Run a fleet of the examples as `make run` does, on free ports; return its address."""
    with new_reader(clone, "fleet") as operator:
        line = "exec cabrank up --port 0 --worker-port 0 --functions examples/functions --store memory://"
        yield operator.types(line, QUICK).ready()


@pytest.mark.timeout(120)
async def test_make_run_does_real_work_in_all_three_modes(reader: Reader) -> None:
    """Its checks hold, it leaves with 0, and it leaves nothing running and no file but the keys."""
    make = readme_code("Try it", "sh").splitlines()[0].partition("#")[0].strip()
    assert make == "make run"
    shown = await reader.sees(f"{make} ARGS='--exit --port 0 --worker-port 0'", timeout_s=100)
    assert "Installing" not in shown  # the mark counted: nothing was installed over it
    checked = shown.partition("── Checked")[2].strip().splitlines()
    assert len(checked) >= 8
    assert [line for line in checked if not line.startswith("ok ")] == []
    for title in ("── sync: ", "── stream: ", "── webhook: "):
        assert title in shown
    left = sorted(each.name for each in (reader.folder / ".cabrank").iterdir())
    assert [name for name in left if not name.startswith("workers-")] == ["auth_key", "lb_auth_key"]


async def test_make_knows_its_targets(reader: Reader) -> None:
    """`make help` names them; `make test` installs what tests need, then runs all of them."""
    targets = await reader.sees("make help")
    for name in ("run", "test", "check"):
        assert f"  {name} " in targets
    assert readme_code("Try it", "sh").splitlines()[1].startswith("make test ")
    planned = await reader.sees("make --dry-run test")
    assert "pip" in planned
    assert "-m pytest" in planned


async def test_the_three_modes_work_by_curl(
    reader: Reader, fleet: str, hooks: HookReceiver
) -> None:
    """Sync answers, stream shows its pieces, webhook says 202 and posts, /tasks tells of all."""
    port = fleet.rpartition(":")[2]
    places = {"localhost:4000": f"localhost:{port}", HOOK: hooks.url("/done")}
    shown = await reader.sees(placed(readme_code("The three modes", "sh"), places))
    assert '{"success":true,"result":{"message":"Hello Ada!"},"task_id":"' in shown
    assert "Hello World, 1 of 3!\nHello World, 2 of 3!\nHello World, 3 of 3!\n" in shown
    assert "HTTP/1.1 202 Accepted" in shown
    assert '{"tasks":[{' in shown
    await wait_until(lambda: hooks.received, "the webhook comes")
    result = {"below": 1_000_000, "count": 78_498, "largest": 999_983}
    assert [(each.path, json.loads(each.body)) for each in hooks.received] == [("/done", result)]


async def test_the_three_modes_work_in_python(
    reader: Reader, fleet: str, hooks: HookReceiver
) -> None:
    """The program runs as it stands, and so does the line for a shell below it."""
    code = readme_code("The three modes", "python")
    places = {"http://127.0.0.1:4000": fleet, HOOK: hooks.url("/done")}
    (reader.folder / "modes.py").write_text(placed(code, places))
    answer, *pieces, task, error = (await reader.sees("python modes.py")).splitlines()
    assert answer == "{'message': 'Hello Ada!'}"
    assert len(pieces) == 2
    assert "Hello Bo, 1 of 2!" in pieces[0]
    assert "9592" in task  # primes below 100,000
    assert error == "function_error as asked"
    await wait_until(lambda: hooks.received, "the webhook comes")

    line = "cabrank submit hello name=Ada --mode stream"
    assert f"`{line}`" in (reader.folder / "README.md").read_text()
    assert await reader.sees(line, {"CABRANK_URL": fleet}) == "Hello Ada!\n"


async def test_a_fleet_runs_a_function_of_ones_own(reader: Reader) -> None:
    """The function of README.md, hosted by two workers behind a balancer, command by command."""
    reader.keys |= {"AUTH_KEY": AUTH_KEY, "LB_AUTH_KEY": LB_KEY, **QUICK}
    functions = reader.folder / "functions"
    functions.mkdir()
    (functions / "resize.py").write_text(readme_code("Writing a function", "python"))
    worker, listed, balancer, table = readme_code("Running a fleet", "sh").splitlines()
    here = {"--host 10.0.0.7 --port 3000": "--host 127.0.0.1 --port 0"}
    workers = [reader.types(f"exec {placed(worker, here)}") for _ in range(2)]
    for each in workers:
        await each.listening()
    first, second = workers
    places = {"10.0.0.7:3000": first.id, "10.0.0.8:3000": second.id}
    await reader.sees(placed(listed, places))
    here = {"--host 0.0.0.0 --port 4000": "--host 127.0.0.1 --port 0"}
    reader.balancer = reader.types(f"exec {placed(balancer, here)}")
    await reader.balancer.listening()
    await reader.ready(*workers)
    shown = await reader.sees(table, {"CABRANK_URL": reader.url})
    assert first.id in shown
    assert second.id in shown

    picture: dict[str, object] = {"url": "http://example.org/a.png"}
    task = {"function": "resize", "contract": 1, "input": picture}
    done = (await reader.request("POST", "/task", task)).json
    assert done["result"] == {"url": "http://example.org/a.png", "width": 800}
    wrong = await reader.request("POST", "/task", {**task, "input": {**picture, "width": 4001}})
    assert (wrong.status, wrong.json["code"]) == (400, "invalid_params")
    assert "width" in str(wrong.json["error"])

    assert "`POST /workers/10.0.0.7:3000/off`" in (reader.folder / "README.md").read_text()
    assert (await reader.request("POST", f"/workers/{first.id}/off")).status == 200
    await reader.shows(first, "maintenance")
    for path in ("/health", "/workers", "/tasks", "/logs", "/metrics", "/docs", "/openapi"):
        assert (await reader.request("GET", path)).status == 200, path


def test_no_block_of_the_readme_is_left_out() -> None:
    """Whoever adds a block adds the test that runs it."""
    assert [(each.heading, each.language) for each in readme_blocks()] == [
        ("Try it", "sh"),
        ("The three modes", "sh"),
        ("The three modes", "python"),
        ("Writing a function", "python"),
        ("Writing a function", "python"),  # the test of a function: tests/fundamentals
        ("Running a fleet", "sh"),
    ]
