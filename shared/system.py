"""The real clock, randomness and ids: the only reader of them in the project.

Everything else takes a `Clock`, a `Chance` or an `IdSource`, so that it can run in virtual time.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from shared.ids import SequentialIds


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)  # itself, because it is read several times a task

    def utc_now(self) -> datetime:
        """Return now, in UTC."""
        return datetime.now(UTC)


class SystemIds(SequentialIds):
    """Ids under a random boot prefix of 64 bits."""

    def __init__(self) -> None:
        super().__init__(secrets.token_hex(8))


def system_chance() -> Random:
    """Return a generator seeded by the operating system (jitter; never secrets)."""
    return Random()


def new_secret() -> str:
    """Return a fresh key: 64 hexadecimal digits, 256 bits."""
    return secrets.token_hex(32)


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """Keys that were generated for this machine because none were configured.

    Attributes:
        auth_key: the workers' AUTH_KEY.
        lb_auth_key: the balancer's LB_AUTH_KEY.
    """

    auth_key: str
    lb_auth_key: str


def local_keys(directory: Path) -> LocalKeys:
    """Return the generated keys kept in a directory, making them the first time.

    Each key is a file of its own with mode 0600. Processes that start together agree: whoever
    creates the file first wins, the others read it.

    Raises:
        OSError: the directory or a file cannot be read or written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalKeys(_kept_key(directory / "auth_key"), _kept_key(directory / "lb_auth_key"))


def _kept_key(path: Path) -> str:
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(new_secret())
        try:
            # A hard link appears whole or not at all, so nobody ever reads half a key.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
