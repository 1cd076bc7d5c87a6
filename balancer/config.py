"""The balancer's settings: every variable of contract §8, its default and its meaning, in one class.

Precedence: command line options, then the environment, then `.env`, then the defaults here.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from shared.process_settings import KEYS_DIRECTORY, ProcessSettings
from shared.settings import Size, Switch, load

__all__ = ["KEYS_DIRECTORY", "BalancerSettings", "load_settings"]


class BalancerSettings(ProcessSettings):
    """Settings of one balancer process."""

    port: int = Field(4000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    lb_auth_key: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="Key of clients and operators, and of the links.",
    )
    auth_key: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="Key of plain HTTP workers that name none themselves.",
    )
    store_url: str | None = Field(
        None,
        repr=False,
        description="Where durable tasks live: sqlite:///relative.db, sqlite:////absolute.db, memory://, "
        "redis://host:6379/0 and its kin (docs/redis.md); default: sqlite:///cabrank.db.",
    )
    redis_host: str | None = Field(None, description="Builds STORE_URL when that is unset.")
    redis_port: int = Field(
        6379, ge=1, le=65535, description="Builds STORE_URL when that is unset."
    )
    workers_file: Path = Field(
        Path("workers.json"), description="The fleet to dial; re-read within 2 s of a change."
    )
    worker_discovery_interval: int = Field(
        1000,
        ge=50,
        description="Milliseconds between looks at the file and at workers that are not linked.",
    )
    worker_discovery_timeout: int = Field(
        3000, ge=50, description="Milliseconds a worker has to answer a look."
    )
    ws_heartbeat_interval: int = Field(
        3000, ge=50, description="Milliseconds between heartbeats on a link."
    )
    ws_heartbeat_timeout: int = Field(
        3000,
        ge=50,
        description="Milliseconds of silence after a heartbeat until a worker gets no dispatch.",
    )
    dashboard_enabled: Switch = Field(
        True, description="Serve /dashboard; this version has none yet, so it changes nothing."
    )
    task_attempts: int = Field(3, ge=1, le=100, description="No task gets more attempts.")
    queue_timeout: int | None = Field(
        None,
        ge=1,
        description="Milliseconds a task may wait for a slot; default: its own deadline.",
    )
    no_worker_wait: int = Field(
        10_000,
        ge=0,
        description="Milliseconds without any worker up after which waiting calls get 503.",
    )
    resume_window: int = Field(
        2000,
        ge=0,
        description="Milliseconds a closed link may take to come back before its attempts count as lost.",
    )
    stall_window: int = Field(
        30_000,
        ge=0,
        description="Milliseconds an open link may be silent before its attempts count as lost.",
    )
    resume_grace: int = Field(
        15_000, ge=0, description="Milliseconds an SSE stream waits for its reader to come back."
    )
    max_queue: int = Field(10_000, ge=1, description="Tasks that may wait in one lane in memory.")
    max_queue_bytes: Size = Field(
        256 * 1024**2, ge=1, description="Bytes of inputs that may wait in memory."
    )
    max_durable: int = Field(1_000_000, ge=1, description="Durable tasks that may be unfinished.")
    idempotency_retention: int = Field(
        86_400, ge=1, description="Seconds an Idempotency-Key stands for its task."
    )
    idempotency_keys: int = Field(
        1_000_000,
        ge=1,
        description="Idempotency-Keys that are kept; past it the oldest are forgotten sooner.",
    )
    result_retention: int = Field(
        86_400, ge=1, description="Seconds a finished durable task is kept."
    )
    max_results: int = Field(
        1_000_000,
        ge=1,
        description="Finished durable tasks that are kept; past it those that ended first go sooner.",
    )
    dead_retention: int = Field(
        604_800, ge=1, description="Seconds a dead letter is kept, with its task."
    )
    max_dead: int = Field(
        100_000,
        ge=1,
        description="Dead letters that are kept; past it the oldest go sooner. Quarantined tasks do not count.",
    )

    @property
    def store(self) -> str:
        """Return the store's URL: STORE_URL, else REDIS_HOST and REDIS_PORT, else an embedded file."""
        if self.store_url:
            return self.store_url
        return (
            f"redis://{self.redis_host}:{self.redis_port}"
            if self.redis_host
            else "sqlite:///cabrank.db"
        )


def load_settings(overrides: dict[str, object]) -> BalancerSettings:
    """Return the balancer's settings with its keys.

    Raises:
        ConfigError: a value is not what is expected.
    """
    return load(BalancerSettings, overrides).with_keys()
