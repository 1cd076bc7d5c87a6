"""The worker's settings: every variable of contract §8, its default and its meaning, in one class.

Precedence: command line options, then the environment, then `.env`, then the defaults here.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from shared.errors import ConfigError
from shared.settings import SETTINGS, LogLevel, Size, Switch, is_loopback, load
from shared.system import local_keys
from shared.url_guard import UrlRules, parse_rules
from shared.webhooks import Headers, WebhookPolicy, parse_headers, parse_secrets

KEYS_DIRECTORY = Path(".cabrank")


def _headers(value: object) -> object:
    return parse_headers(value) if isinstance(value, str) else value


# NoDecode: the settings library would parse the JSON itself and end in a traceback when it is none.
_Headers = Annotated[Headers, NoDecode, BeforeValidator(_headers)]


class WorkerSettings(BaseSettings):
    """Settings of one worker process."""

    model_config = SETTINGS

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Anything but loopback needs keys."
    )
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
    task_timeout: int = Field(
        300_000,
        ge=1,
        description="Milliseconds a direct sync or stream call may take in all, unless it says deadline_s.",
    )
    log_level: LogLevel = Field("info", description="debug, info, warn or error.")
    max_logs: int = Field(1000, ge=1, le=1_000_000, description="Lines kept for /logs.")
    openapi_enabled: Switch = Field(True, description="Serve /openapi and /docs.")
    request_body_limit: Size = Field(10 * 1024**2, ge=1024, description="Largest request body.")
    max_queue: int = Field(
        1000, ge=0, description="Direct tasks that may wait for a slot; 0 lets none wait."
    )
    max_queue_bytes: Size = Field(
        64 * 1024**2, ge=1, description="Bytes of inputs that may wait for a slot."
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
        if is_loopback(self.host):
            return self
        keys = {"AUTH_KEY": self.auth_key, "LB_AUTH_KEY": self.lb_auth_key}
        missing = [name for name, key in keys.items() if key is None]
        if missing:
            names = " and ".join(missing)
            raise ValueError(f"{names}: required because HOST={self.host} is not loopback")
        return self

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

    def id_on(self, port: int) -> str:
        """Return the worker's id: WORKER_ID, else this machine's name and the port it listens on."""
        return self.worker_id or f"{socket.gethostname()}:{port}"

    def with_keys(self) -> Self:
        """Return the settings with the keys that were generated for this machine where none are set.

        Raises:
            ConfigError: the keys' directory cannot be used.
        """
        if self.auth_key is not None and self.lb_auth_key is not None:
            return self
        try:
            kept = local_keys(KEYS_DIRECTORY)
        except OSError as exc:
            raise ConfigError(
                f"AUTH_KEY: not set, and none can be kept in {KEYS_DIRECTORY}/: {exc}"
            ) from exc
        return self.model_copy(
            update={
                "auth_key": self.auth_key or kept.auth_key,
                "lb_auth_key": self.lb_auth_key or kept.lb_auth_key,
            }
        )


def load_settings(overrides: dict[str, object]) -> WorkerSettings:
    """Return the worker's settings, without generated keys: `with_keys` adds them.

    Raises:
        ConfigError: a value is not what is expected.
    """
    return load(WorkerSettings, overrides)
