"""The worker's settings: every variable of contract §8, its default and its meaning, in one class.

Precedence: command line options, then the environment, then `.env`, then the defaults here.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shared.process_settings import KEYS_DIRECTORY, ProcessSettings
from shared.settings import Size, Switch, load

__all__ = ["KEYS_DIRECTORY", "WorkerSettings", "load_settings"]


class WorkerSettings(ProcessSettings):
    """Settings of one worker process."""

    needed_keys: ClassVar[tuple[str, ...]] = ("auth_key", "lb_auth_key")

    port: int = Field(3000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    auth_key: str | None = Field(
        None, min_length=1, repr=False, description="Key of clients that call this worker directly."
    )
    lb_auth_key: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="Key of balancers: their links and health checks.",
    )
    worker_id: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="Name of this worker to balancers; default: hostname:port. Unique in a fleet.",
    )
    group: str = Field(
        "default", min_length=1, description="Group of workers that host the same functions."
    )
    contract: int = Field(1, ge=0, description="Version of the group's interface.")
    slots: int = Field(10, ge=1, le=100_000, description="Tasks that may run at one time.")
    functions: Path = Field(
        Path("functions"),
        description="Folder of functions; services/ and tags/ are looked for beside it.",
    )
    keep_going: Switch = Field(
        False, description="Start although a file of functions cannot be imported."
    )
    default_timeout: int = Field(
        30_000, ge=1, description="Milliseconds one run may take when the function says nothing."
    )
    max_queue: int = Field(
        1000, ge=0, description="Direct tasks that may wait for a slot; 0 lets none wait."
    )
    max_queue_bytes: Size = Field(
        64 * 1024**2, ge=1, description="Bytes of inputs that may wait for a slot."
    )

    def id_on(self, port: int) -> str:
        """Return the worker's id: WORKER_ID, else this machine's name and the port it listens on."""
        return self.worker_id or f"{socket.gethostname()}:{port}"


def load_settings(overrides: dict[str, object]) -> WorkerSettings:
    """Return the worker's settings, without generated keys: `with_keys` adds them.

    Raises:
        ConfigError: a value is not what is expected.
    """
    return load(WorkerSettings, overrides)
