"""From a URL to a store: what is supported, and how refusals read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from balancer.store.open import open_store, shown, sqlite_path
from balancer.store.sqlite import SqliteStore
from shared.errors import ConfigError
from shared.system import SystemClock
from tests.fakes.stored_tasks import accept, stored_task


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///x.db", "x.db"),
        ("sqlite:///folder/x.db", "folder/x.db"),
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
    ],
)
def test_three_slashes_are_relative_and_four_absolute(url: str, path: str) -> None:
    """The convention of SQLAlchemy and the contract."""
    assert sqlite_path(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite://host/x",
        "sqlite:///:memory:",
        "sqlite:///x?a=1",
    ],
)
def test_a_url_without_a_file_is_refused(url: str) -> None:
    """A host, an option or nothing is no file."""
    with pytest.raises(ConfigError, match="names no file"):
        sqlite_path(url)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("postgres://user:secret@host:6379/0", "postgres://host:6379/0"),
        ("postgres://:pa/ss@wo?rd@host/1?password=secret", "postgres://host/1"),
        ("postgres://host/x", "postgres://host/x"),
        ("nonsense", "nonsense"),
    ],
)
async def test_an_unsupported_store_is_refused_without_its_password(url: str, safe: str) -> None:
    """The refusal names the URL, what this build supports, and no secret."""
    assert shown(url) == safe
    with pytest.raises(ConfigError) as caught:
        await open_store(url, clock=SystemClock())
    assert repr(safe) in caught.value.message
    assert "sqlite:///file" in caught.value.message
    assert "secret" not in caught.value.message


async def test_memory_opens_a_store_that_works() -> None:
    """`memory://` needs no file."""
    store = await open_store("memory://", clock=SystemClock())
    await accept(store, stored_task(1))
    assert await store.tasks.count() == 1
    await store.close()


async def test_a_sqlite_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Inputs and results are nobody else's to read."""
    store = await open_store(f"sqlite:///{tmp_path}/x.db", clock=SystemClock())
    await accept(store, stored_task(1))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    await store.close()
    assert set(modes) >= {"x.db", "x.db-wal", "x.db.lock"}
    assert set(modes.values()) == {0o600}


async def test_a_folder_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    """The reason is said in words."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        await open_store(f"sqlite:///{tmp_path}/nowhere/x.db", clock=SystemClock())


async def test_a_file_that_is_no_database_stops_the_start(tmp_path: Path) -> None:
    """It is refused, left as it was, and not locked."""
    path = tmp_path / "x.db"
    path.write_bytes(b"dear diary " * 100)
    for _ in range(2):
        with pytest.raises(ConfigError, match="not a database"):
            await open_store(f"sqlite:///{path}", clock=SystemClock())
    assert path.read_bytes() == b"dear diary " * 100


async def test_a_second_store_on_one_file_is_refused(tmp_path: Path) -> None:
    """One owner at a time; when it has left, another may come."""
    path = str(tmp_path / "x.db")
    first = await SqliteStore.open(path, clock=SystemClock())
    with pytest.raises(ConfigError, match=r"x\.db is in use by process \d+"):
        await SqliteStore.open(path, clock=SystemClock())
    await first.close()
    second = await SqliteStore.open(path, clock=SystemClock())
    await second.close()
