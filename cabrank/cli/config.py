"""The settings of the commands that talk to a fleet: where it is, and with which key.

Options win over the environment, which wins over `.env`, which wins over the key that a balancer
on this machine generated into `.cabrank/`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from shared.client.client import DEFAULT_URL
from shared.errors import ConfigError
from shared.settings import SETTINGS, load

STATE_DIRECTORY = Path(".cabrank")  # generated keys, workers.json of `up`, files of `demo`


class CallSettings(BaseSettings):
    """Settings of `submit`, `workers`, `tasks` and `dead`."""

    model_config = SETTINGS

    cabrank_url: str = Field(DEFAULT_URL, description="The balancer's address.")
    lb_auth_key: str | None = Field(None, repr=False, description="The balancer's key.")


def load_call_settings(
    url: str | None, key: str | None, key_file: Path | None = None
) -> CallSettings:
    """Return where the fleet is and the key for it; without a key only the public routes answer.

    Raises:
        ConfigError: a value is not what is expected, or the file has no key.
    """
    if key_file is not None:
        if key is not None:
            raise ConfigError("give --key or --key-file, not both")
        key = _key_of(key_file)
    settings = load(CallSettings, {"cabrank_url": url, "lb_auth_key": key})
    if settings.lb_auth_key is not None:
        return settings
    return settings.model_copy(update={"lb_auth_key": generated_key()})


def _key_of(file: Path) -> str:
    try:
        key = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise ConfigError(f"--key-file {file} cannot be read: {reason}") from exc
    if not key:
        raise ConfigError(f"--key-file {file} is empty")
    return key


def generated_key() -> str | None:
    """Return the key that was generated here; asking for one makes none."""
    try:
        return (STATE_DIRECTORY / "lb_auth_key").read_text("utf-8").strip() or None
    except OSError:
        return None
