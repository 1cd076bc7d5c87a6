"""How both processes read their settings: options, then environment, then `.env`, then defaults.

A bad value stops the start with the variable, the value and what is expected (contract §8); values
of secret variables are never shown.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigError

SETTINGS = SettingsConfigDict(
    env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, case_sensitive=False,
    # An empty variable (`PORT=` in a compose file) means that it is not set.
    env_ignore_empty=True,
)  # fmt: skip

_UNITS = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?b?)\s*", re.IGNORECASE)
_SECRET = re.compile(r"KEY|SECRET|PASSWORD|TOKEN|HEADERS|URL")

S = TypeVar("S", bound=BaseSettings)


def parse_size(value: object) -> object:
    """Return bytes for `10mb`, `64kb`, `1gb` or a plain number; other values as they are.

    Raises:
        ValueError: the text is no size.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError("expected a size such as 10mb, 512kb or a number of bytes")
    unit = match[2].lower()
    unit = unit if unit.endswith("b") or not unit else f"{unit}b"
    return int(float(match[1]) * _UNITS[unit])


def parse_switch(value: object) -> object:
    """Return a bool for true, false, 1 and 0; nothing else is a switch (contract §8).

    Raises:
        ValueError: the text is none of them.
    """
    if not isinstance(value, str):
        return value
    try:
        return {"true": True, "1": True, "false": False, "0": False}[value.strip().lower()]
    except KeyError:
        raise ValueError("expected true, false, 1 or 0") from None


def parse_level(value: object) -> object:
    """Return a log level in lower case, with `warning` read as `warn`."""
    if not isinstance(value, str):
        return value
    level = value.strip().lower()
    return "warn" if level == "warning" else level


Size = Annotated[int, BeforeValidator(parse_size)]
Switch = Annotated[bool, BeforeValidator(parse_switch)]
LogLevel = Annotated[Literal["debug", "info", "warn", "error"], BeforeValidator(parse_level)]


def is_loopback(host: str) -> bool:
    """Tell whether a bind address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(kind: type[S], overrides: dict[str, object]) -> S:
    """Return the settings of a process.

    Args:
        kind: its settings class.
        overrides: command line options by field name; None means not given.

    Raises:
        ConfigError: a value is not what is expected; the text has a line for each.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(given.keys() - kind.model_fields.keys())
    if unknown:
        raise AssertionError(f"no such settings: {unknown}")
    try:
        return kind(**given)  # pyright: ignore[reportArgumentType] # checked by pydantic itself
    except ValidationError as exc:
        raise ConfigError("\n".join(_lines(exc))) from None


def _lines(exc: ValidationError) -> list[str]:
    lines: list[str] = []
    for error in exc.errors():
        if not error["loc"]:
            lines.append(str(error["msg"]).removeprefix("Value error, "))
            continue
        name = str(error["loc"][0]).upper()
        value = "***" if _SECRET.search(name) else repr(error["input"])
        expected = str(error["msg"]).removeprefix("Value error, ")
        lines.append(f"{name}={value}: {expected[0].lower()}{expected[1:]}")
    return lines
