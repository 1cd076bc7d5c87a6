"""The exclusive lock of an embedded store: one owner at a time (DESIGN §5).

The lock is held on a file beside the database, by the kernel: it ends with the process however that
ends, so a stale file locks nobody out.
"""

from __future__ import annotations

import fcntl
import os

from shared.errors import ConfigError


class FileLock:
    """A lock file that is held from `acquire` to `release`.

    Args:
        path: the database; the lock file is `<path>.lock`.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or say who has it.

        Raises:
            ConfigError: another process holds it, or the lock file cannot be made.
        """
        try:
            descriptor = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ConfigError(f"Store {self._path} cannot be opened: {exc.strerror}") from exc
        try:
            # flock, not lockf: a lock of lockf is lost when any descriptor of the file is closed.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigError(_taken(self._path, owner)) from exc
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; the file stays, since removing it could take it from under a new owner."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _taken(path: str, owner: str) -> str:
    who = f"process {owner}" if owner.isdigit() else "another process"
    return (
        f"Store {path} is in use by {who}: an embedded store has one balancer."
        " Stop that one, or give this one another file"
    )
