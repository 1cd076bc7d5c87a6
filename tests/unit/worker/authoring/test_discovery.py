"""What is found in the files of a worker, and how a file that fails is told about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.authoring.decorators import function
from worker.authoring.discovery import (
    Discovered,
    DiscoveryError,
    FunctionAddress,
    address_of,
    discover,
    load_function,
    source_files,
)

HEAD = "from __future__ import annotations\nfrom worker import Context, function, service, tags\n"
ROOT = Path(__file__).parents[4]


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files under a folder and return its functions folder."""
    (root / "functions").mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + source, "utf-8")
    return root / "functions"


def names(found: Discovered) -> list[str]:
    """Return the names of the functions that were found."""
    return [each.name for each in found.functions]


def simple(name: str) -> str:
    """Return the source of a function."""
    return f"@function\nasync def {name}(a: int = 1) -> int:\n    return a\n"


def test_files_are_walked_in_order_and_underscored_ones_are_not(tmp_path: Path) -> None:
    """Sub-folders too; what begins with `_` or `.` and what is no Python file is left alone."""
    folder = write(
        tmp_path,
        {
            f"functions/{path}": ""
            for path in (
                "b.py",
                "a.py",
                "sub/deep/c.py",
                "_x.py",
                ".y.py",
                "_sub/d.py",
                "__init__.py",
            )
        },
    )
    (folder / "notes.txt").write_text("no Python")
    walked = [path.relative_to(folder).as_posix() for path in source_files(folder)]
    assert walked == ["a.py", "b.py", "sub/deep/c.py"]
    assert list(source_files(tmp_path / "nowhere")) == []


def test_only_decorated_functions_count(tmp_path: Path) -> None:
    """A plain public function is a function of its file and of nobody else."""
    source = (
        simple("one") + simple("two") + "def plain() -> None: ...\nasync def also() -> None: ...\n"
    )
    found = discover(write(tmp_path, {"functions/a.py": source}))
    assert names(found) == ["one", "two"]
    assert (found.services, found.tags, found.failures) == ({}, [], [])


def test_files_may_share_a_name_and_import_each_other(tmp_path: Path) -> None:
    """Two folders with the same file names, and a shared file that is not looked into."""
    shared = "def double(a: int) -> int:\n    return 2 * a\n"
    user = (
        "from ._shared import double\n@function\ndef twice(a: int) -> int:\n    return double(a)\n"
    )
    first = write(
        tmp_path / "x",
        {
            "functions/_shared.py": shared,
            "functions/a.py": user,
            "functions/sub/b.py": "from ..a import twice\n",
        },
    )
    second = write(tmp_path / "y", {"functions/a.py": simple("other")})
    twice = discover(first).functions.get("twice")
    assert twice is not None
    assert twice(3) == 6
    assert names(discover(second)) == ["other"]
    assert names(discover(first)) == ["twice"]


def test_hints_are_read_when_annotations_are_postponed(tmp_path: Path) -> None:
    """`from __future__ import annotations` is in every file here; models of the file are known."""
    source = (
        "from pydantic import BaseModel\nclass User(BaseModel):\n    age: int\n"
        "@function\ndef greet(user: User, *, ctx: Context) -> None: ...\n"
    )
    greet = discover(write(tmp_path, {"functions/a.py": source})).functions.get("greet")
    assert greet is not None
    assert (list(greet.signature.params), greet.context_param) == (["user"], "ctx")


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("x = 1\nx = 1 / 0\n", 4, "ZeroDivisionError: division by zero"),
        ("def broken(:\n", 3, "SyntaxError: invalid syntax"),
        ("import no_such_module\n", 3, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit('bye')\n", 3, "SystemExit: bye"),
        ("raise RuntimeError\n", 3, "RuntimeError: no message"),
        ("def f() -> None:\n    raise KeyError('k')\nf()\n", 4, "KeyError: 'k'"),
        ("@function\ndef f(a) -> None: ...\n", 3, "DeclarationError: function 'f'"),
    ],
)
def test_a_file_that_fails_stops_with_file_line_and_exception(
    tmp_path: Path, source: str, line: int, text: str
) -> None:
    """The author sees where to look (contract §4); with keep_going the others are hosted."""
    folder = write(tmp_path, {"functions/a.py": source, "functions/b.py": simple("good")})
    with pytest.raises(DiscoveryError) as caught:
        discover(folder)
    assert str(caught.value).startswith(f"{folder / 'a.py'}:{line}: {text}")
    assert caught.value.code == "config_error"

    found = discover(folder, keep_going=True)
    assert names(found) == ["good"]
    (failure,) = found.failures
    assert (failure.file, failure.line, str(failure)) == (
        str(folder / "a.py"),
        line,
        str(caught.value),
    )


def test_two_functions_of_one_name_are_refused(tmp_path: Path) -> None:
    """Both places are named; with keep_going the first is hosted."""
    folder = write(tmp_path, {"functions/a.py": simple("one"), "functions/b.py": simple("one")})
    with pytest.raises(
        DiscoveryError, match=r"two functions are called 'one': .*a\.py:\d+ and .*b\.py"
    ):
        discover(folder)
    found = discover(folder, keep_going=True)
    assert names(found) == ["one"]
    assert [failure.error_type for failure in found.failures] == ["DeclarationError"]


def test_a_missing_functions_folder_is_an_error(tmp_path: Path) -> None:
    """Also with keep_going: a worker without functions is a mistyped path."""
    with pytest.raises(DiscoveryError, match=r"functions folder not found: .*nowhere"):
        discover(tmp_path / "nowhere", keep_going=True)


def test_a_dot_in_a_file_name_is_refused(tmp_path: Path) -> None:
    """It could not be imported; the error says so instead of blaming a missing module."""
    folder = write(tmp_path, {"functions/a.b.py": simple("one")})
    with pytest.raises(DiscoveryError, match="with a dot in its name cannot be imported"):
        discover(folder)


SERVICE = """
@service
class Clock:
    "Ticks."
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def status(self) -> object: return {"late_ms": 0}
"""
MODULE_SERVICE = """
async def start() -> None: ...
async def stop() -> None: ...
async def status() -> object: return 7
"""


async def test_services_are_classes_or_whole_files(tmp_path: Path) -> None:
    """A class is made anew for each start, a file is what it is."""
    folder = write(tmp_path, {"services/a.py": SERVICE, "services/sub/ping.py": MODULE_SERVICE})
    services = discover(folder).services
    assert list(services) == ["clock", "ping"]
    assert services["clock"].make() is not services["clock"].make()
    assert [await each.make().status() for each in services.values()] == [{"late_ms": 0}, 7]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (
            {"services/a.py": "async def start() -> None: ...\n"},
            "service 'a' .*: it needs `async def stop`",
        ),
        ({"services/a.py": SERVICE, "services/b.py": SERVICE}, "two services are called 'clock'"),
        ({"tags/a.py": "def tags() -> None: ...\n"}, "tags 'a' .*: tags come from an `async def`"),
        (
            {"tags/a.py": "interval_s = 0\nasync def tags(): ...\n"},
            "tags 'a' .*: interval_s=0 is not",
        ),
    ],
)
def test_a_broken_service_or_source_of_tags_stops_too(
    tmp_path: Path, files: dict[str, str], text: str
) -> None:
    """With the same error as a function, or as a failure when told to keep going."""
    folder = write(tmp_path, {**files, "functions/a.py": simple("good")})
    with pytest.raises(DiscoveryError, match=text):
        discover(folder)
    found = discover(folder, keep_going=True)
    assert (names(found), len(found.failures)) == (["good"], 1)


async def test_tags_are_found_by_name_or_mark(tmp_path: Path) -> None:
    """A plain `async def tags()` with its file's interval, and whatever `@tags` marked."""
    plain = "interval_s = 5\nasync def tags() -> dict[str, str]:\n    return {'a': 'b'}\n"
    marked = "@tags(interval_s=60)\nasync def facts() -> dict[str, str]:\n    return {'c': 'd'}\n"
    only_imported = "x = tags\n"
    folder = write(tmp_path, {"tags/a.py": plain, "tags/b.py": marked, "tags/c.py": only_imported})
    found = discover(folder).tags
    assert [(each.name, each.interval_s) for each in found] == [("a", 5.0), ("facts", 60.0)]
    assert [await each() for each in found] == [{"a": "b"}, {"c": "d"}]


@function(isolation="process")
def in_a_test(a: int = 2) -> int:
    return a * 2


def test_another_process_finds_a_function_by_its_address(tmp_path: Path) -> None:
    """The address is made of texts; the other process imports the file under the same name."""
    source = "from ._shared import K\n@function(name='times')\ndef multiply(a: int) -> int:\n    return a * K\n"
    folder = write(tmp_path, {"functions/sub/a.py": source, "functions/sub/_shared.py": "K = 21\n"})
    times = discover(folder).functions.get("times")
    assert times is not None
    for address in (address_of(times), address_of(in_a_test)):
        program = (
            "from worker.authoring.discovery import FunctionAddress, load_function, address_of\n"
            f"f = load_function({address!r})\n"
            f"print(f(a=2), address_of(f).name)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [str(times(2) if address.folder else 4), address.name]


def test_a_function_that_is_gone_is_told(tmp_path: Path) -> None:
    """The file changed after the worker started."""
    folder = write(tmp_path, {"functions/a.py": simple("one")})
    address = FunctionAddress(folder=str(folder), module="x", file=str(folder / "a.py"), name="two")
    with pytest.raises(DiscoveryError, match=r"a\.py declares no function 'two'"):
        load_function(address)


def test_an_installed_module_that_breaks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process may lack what this one has; its error is not hidden by a second try."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name, source, text in (
        ("lacks_module_xq", "import no_such_module\n", "No module named 'no_such_module'"),
        ("divides_xq", "1 / 0\n", "ZeroDivisionError"),
    ):
        (tmp_path / f"{name}.py").write_text(source)
        file = str(tmp_path / f"{name}.py")
        with pytest.raises(DiscoveryError, match=text):
            load_function(FunctionAddress(folder="", module=name, file=file, name="one"))


def test_a_script_is_loaded_from_its_file(tmp_path: Path) -> None:
    """`__main__` of another process is another program; so is a module that cannot be found."""
    folder = write(tmp_path, {"functions/a.py": simple("one")})
    for module in ("__main__", "no_such_package.a"):
        address = FunctionAddress(folder="", module=module, file=str(folder / "a.py"), name="one")
        assert load_function(address).name == "one"


def test_importing_the_authoring_api_is_light() -> None:
    """A child process that runs a function loads no server, no store, no balancer."""
    program = (
        "import sys, worker\n"
        "heavy = {'aiohttp', 'redis', 'sqlite3', 'balancer', 'structlog', 'rich', 'typer', 'websockets'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
