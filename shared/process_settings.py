"""Settings that both processes have: where they listen, their keys, their logs, their webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from shared.errors import ConfigError
from shared.protocol.limits import MAX_BODY
from shared.settings import SETTINGS, LogLevel, Size, Switch, is_loopback
from shared.system import local_keys
from shared.url_guard import UrlRules, parse_rules
from shared.webhooks import Headers, WebhookPolicy, parse_headers, parse_secrets

KEYS_DIRECTORY = Path(".cabrank")


def _headers(value: object) -> object:
    return parse_headers(value) if isinstance(value, str) else value


# NoDecode: the settings library would parse the JSON itself and end in a traceback when it is none.
_Headers = Annotated[Headers, NoDecode, BeforeValidator(_headers)]


class ProcessSettings(BaseSettings):
    """Settings of any process; the two kinds add theirs."""

    model_config = SETTINGS

    # Keys that a process needs as soon as others than this machine can reach it.
    needed_keys: ClassVar[tuple[str, ...]] = ("lb_auth_key",)

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Anything but loopback needs keys."
    )
    log_level: LogLevel = Field("info", description="debug, info, warn or error.")
    max_logs: int = Field(1000, ge=1, le=1_000_000, description="Lines kept for /logs.")
    openapi_enabled: Switch = Field(True, description="Serve /openapi and /docs.")
    fast_lane: Switch = Field(
        True,
        description="Serve plain calls by the small protocol of the fast lane; else by aiohttp.",
    )
    task_timeout: int = Field(
        300_000,
        ge=1,
        description="Milliseconds a sync or stream call may take in all, unless it says deadline_s.",
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
    auth_key: str | None = Field(None, min_length=1, repr=False)
    lb_auth_key: str | None = Field(None, min_length=1, repr=False)

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
        given = {"auth_key": self.auth_key, "lb_auth_key": self.lb_auth_key}
        missing = [name.upper() for name in self.needed_keys if given[name] is None]
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

    def with_keys(self) -> Self:
        """Return the settings with the keys that were generated for this machine where none are set.

        A process that others can reach has all the keys it needs and is given none.

        Raises:
            ConfigError: the keys' directory cannot be used.
        """
        has_all = self.auth_key is not None and self.lb_auth_key is not None
        if has_all or not is_loopback(self.host):
            return self
        try:
            kept = local_keys(KEYS_DIRECTORY)
        except OSError as exc:
            raise ConfigError(
                f"LB_AUTH_KEY: not set, and none can be kept in {KEYS_DIRECTORY}/: {exc}"
            ) from exc
        return self.model_copy(
            update={
                "auth_key": self.auth_key or kept.auth_key,
                "lb_auth_key": self.lb_auth_key or kept.lb_auth_key,
            }
        )
