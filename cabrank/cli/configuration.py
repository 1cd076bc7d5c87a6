"""The page of every setting, made from the settings classes: `python -m cabrank.cli.configuration`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balancer.config import BalancerSettings
from worker.config import WorkerSettings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

_HEAD = """# Configuration

Generated from the settings classes by `python -m cabrank.cli.configuration`; a test compares.

A command line option wins over an environment variable, which wins over `.env` in the working directory, which wins
over the default. Sizes are bytes or `512kb`, `10mb`, `1gb`; switches are `true`, `false`, `1` or `0`; an empty variable
counts as not set. A bad value stops the start and names the variable, the value and what is expected.

Without keys, a process that is bound to loopback generates them once into `.cabrank/` (mode 0600); one that is bound to
anything else refuses to start.
"""


def markdown() -> str:
    """Return the page."""
    parts = [_HEAD]
    for title, kind in (("Balancer", BalancerSettings), ("Worker", WorkerSettings)):
        parts.append(f"## {title}\n\n| variable | default | meaning |\n| --- | --- | --- |")
        parts += [_row(name, field) for name, field in _fields(kind)]
        parts.append("")
    return "\n".join(parts)


def _fields(kind: type[BaseSettings]) -> list[tuple[str, FieldInfo]]:
    return sorted(kind.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    default: object = field.get_default(call_default_factory=True, validated_data={})
    return f"| `{name.upper()}` | {_shown(default)} | {field.description} |"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int):
        return f"`{default}`"
    return f"`{default}`" if default else ""


if __name__ == "__main__":
    print(markdown(), end="")
