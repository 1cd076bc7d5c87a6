"""The balancer's settings: every variable of contract §8, its default and its meaning, in one class.

Precedence: command line options, then the environment, then `.env`, then the defaults here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from shared.errors import ConfigError
from shared.protocol.limits import MAX_BODY
from shared.settings import SETTINGS, LogLevel, Size, Switch, is_loopback, load
from shared.system import local_keys
from shared.url_guard import UrlRules, parse_rules
from shared.webhooks import Headers, WebhookPolicy, parse_headers, parse_secrets

KEYS_DIRECTORY = Path(".cabrank")


def _headers(value: object) -> object:
    return parse_headers(value) if isinstance(value, str) else value


# NoDecode: the settings library would parse the JSON itself and end in a traceback when it is none.
_Headers = Annotated[Headers, NoDecode, BeforeValidator(_headers)]


class BalancerSettings(BaseSettings):
    """Settings of one balancer process."""

    model_config = SETTINGS

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Anything but loopback needs keys."
    )
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
        description="Where durable tasks live: sqlite:///relative.db, sqlite:////absolute.db, memory://.",
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
    dashboard_enabled: Switch = Field(True, description="Serve /dashboard.")
    openapi_enabled: Switch = Field(True, description="Serve /openapi and /docs.")
    log_level: LogLevel = Field("info", description="debug, info, warn or error.")
    max_logs: int = Field(1000, ge=1, le=1_000_000, description="Lines kept for /logs.")
    task_timeout: int = Field(
        300_000,
        ge=1,
        description="Milliseconds a sync or stream call may take in all, unless it says deadline_s.",
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
    result_retention: int = Field(
        86_400, ge=1, description="Seconds a finished durable task is kept."
    )
    request_body_limit: Size = Field(
        10 * 1024**2,
        ge=1024,
        le=MAX_BODY,
        description="Largest request body; a link carries up to 64mb.",
    )
    webhook_timeout: int = Field(5000, ge=1, description="Milliseconds one delivery may take.")
    webhook_max_retries: int = Field(3, ge=0, le=100, description="Tries after the first.")
    webhook_retry_delay: int = Field(
        1000, ge=1, description="Milliseconds of the first backoff; it doubles."
    )
    webhook_headers: _Headers = Field(
        (), repr=False, description="JSON object of headers on every delivery."
    )
    webhook_secret: str = Field(
        "", repr=False, description="whsec_… secrets, separated by spaces; signs deliveries."
    )
    webhook_allow_private: Switch | None = Field(
        None, description="Deliver to private addresses; default: only while bound to loopback."
    )
    webhook_allow: str = Field(
        "", description="Hosts and networks that deliveries may always reach, separated by commas."
    )
    termination_grace: int = Field(
        30_000, ge=0, description="Milliseconds SIGTERM leaves running work to end."
    )

    @field_validator("webhook_secret")
    @classmethod
    def _secrets_are_secrets(cls, value: str) -> str:
        parse_secrets(value)
        return value

    @field_validator("webhook_allow")
    @classmethod
    def _allowed_are_hosts(cls, value: str) -> str:
        parse_rules(value, allow_private=False)
        return value

    @model_validator(mode="after")
    def _closed_by_default(self) -> Self:
        if self.lb_auth_key is None and not is_loopback(self.host):
            raise ValueError(f"LB_AUTH_KEY: required because HOST={self.host} is not loopback")
        return self

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

    @property
    def allow_private_webhooks(self) -> bool:
        """Tell whether deliveries may go to private addresses."""
        chosen = self.webhook_allow_private
        return is_loopback(self.host) if chosen is None else chosen

    @property
    def webhook_rules(self) -> UrlRules:
        """Return where deliveries may go."""
        return parse_rules(self.webhook_allow, allow_private=self.allow_private_webhooks)

    @property
    def webhook_policy(self) -> WebhookPolicy:
        """Return how deliveries are tried."""
        return WebhookPolicy(
            timeout_s=self.webhook_timeout / 1000,
            max_retries=self.webhook_max_retries,
            retry_delay_s=self.webhook_retry_delay / 1000,
            headers=self.webhook_headers,
            secrets=parse_secrets(self.webhook_secret),
        )

    def with_keys(self) -> Self:
        """Return the settings with the keys that were generated for this machine where none are set.

        Raises:
            ConfigError: the keys' directory cannot be used.
        """
        if self.lb_auth_key is not None and (
            self.auth_key is not None or not is_loopback(self.host)
        ):
            return self
        try:
            kept = local_keys(KEYS_DIRECTORY)
        except OSError as exc:
            raise ConfigError(
                f"LB_AUTH_KEY: not set, and none can be kept in {KEYS_DIRECTORY}/: {exc}"
            ) from exc
        return self.model_copy(
            update={
                "lb_auth_key": self.lb_auth_key or kept.lb_auth_key,
                "auth_key": self.auth_key or kept.auth_key,
            }
        )


def load_settings(overrides: dict[str, object]) -> BalancerSettings:
    """Return the balancer's settings with its keys.

    Raises:
        ConfigError: a value is not what is expected.
    """
    return load(BalancerSettings, overrides).with_keys()
