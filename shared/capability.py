"""What a worker can do: its functions, and whether two workers of one group and contract agree.

`FunctionSpec.kind` is an open string that no scheduler switches on: what else a worker may host
later (components, flows) needs no change here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import cast

JsonObject = dict[str, object]

LONGEST_S = 1e9  # thirty years; a worker that announces more has announced nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """A function as a worker announces it (contract §3, `functions[]` of /health).

    Attributes:
        name: its name, unique within the group and contract.
        kind: `function`, or whatever a host calls what it hosts.
        description: first paragraph of the docstring.
        params: Andera's parameter map, by parameter name.
        input_schema: JSON Schema of `input`; None when the worker (Andera's) tells none.
        timeout_s: limit of one run; None means the worker's default.
        max_retries: attempts after the first.
        retry_delay_s: base of the backoff between attempts.
        streaming: may be called with mode stream.
        idempotent: running it twice does no harm, so a lost sync attempt may run again.
    """

    name: str
    kind: str = "function"
    description: str = ""
    params: JsonObject = field(default_factory=dict[str, object])
    input_schema: JsonObject | None = None
    timeout_s: float | None = None
    max_retries: int = 0
    retry_delay_s: float = 1.0
    streaming: bool = False
    idempotent: bool = False

    def wire(self) -> JsonObject:
        """Return the item of `functions[]`, as /health shows it and as `from_wire` reads it."""
        item: JsonObject = {
            "name": self.name,
            "params": self.params,
            "description": self.description,
            "kind": self.kind,
            "config": {
                "timeout": self.timeout_s,
                "retries": self.max_retries,
                "retryDelay": self.retry_delay_s,
                "supportsStreaming": self.streaming,
                "idempotent": self.idempotent,
            },
        }
        if self.input_schema is not None:
            item["inputSchema"] = self.input_schema
        return item

    @classmethod
    def from_wire(cls, item: object) -> FunctionSpec | None:
        """Read an item of `functions[]`; None when it has no usable name. Unknown fields are ignored.

        A worker of Andera tells only name and params; whether it streams is then unknown and left
        to the worker to refuse, so `streaming` is true.
        """
        if not isinstance(item, dict):
            return None
        entry = cast("JsonObject", item)
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            return None
        raw_config = entry.get("config")
        config = cast("JsonObject", raw_config) if isinstance(raw_config, dict) else None
        settings = config or {}
        schema = entry.get("inputSchema")
        params = entry.get("params")
        return cls(
            name=name,
            kind=_text(entry.get("kind"), "function"),
            description=_text(entry.get("description"), ""),
            params=cast("JsonObject", params) if isinstance(params, dict) else {},
            input_schema=cast("JsonObject", schema) if isinstance(schema, dict) else None,
            timeout_s=_seconds(settings.get("timeout")),
            max_retries=int(_seconds(settings.get("retries")) or 0),
            retry_delay_s=_seconds(settings.get("retryDelay")) or 1.0,
            streaming=bool(settings.get("supportsStreaming", config is None)),
            idempotent=bool(settings.get("idempotent", False)),
        )

    def fingerprint(self) -> str:
        """Return a text that is equal for equal names and parameter schemas, whatever their order."""
        return json.dumps([self.name, self.params, self.input_schema], sort_keys=True)


def differences(
    reference: dict[str, FunctionSpec], other: dict[str, FunctionSpec]
) -> dict[str, str]:
    """Spell out where a worker differs from the reference of its group and contract.

    Returns:
        function name → what differs; empty when they agree. Functions named here get no task on
        `other` (contract §5).
    """
    found: dict[str, str] = {}
    for name in sorted(reference.keys() | other.keys()):
        ours, theirs = reference.get(name), other.get(name)
        if theirs is None:
            found[name] = f"function '{name}' is missing"
        elif ours is None:
            found[name] = f"function '{name}' is not hosted by the reference worker"
        elif ours.fingerprint() != theirs.fingerprint():
            found[name] = f"function '{name}' {_difference(ours, theirs)}"
    return found


def _difference(ours: FunctionSpec, theirs: FunctionSpec) -> str:
    missing = sorted(ours.params.keys() - theirs.params.keys())
    extra = sorted(theirs.params.keys() - ours.params.keys())
    if missing:
        return f"lacks param {', '.join(missing)}"
    if extra:
        return f"has the extra param {', '.join(extra)}"
    changed = sorted(p for p in ours.params if ours.params[p] != theirs.params[p])
    return (
        f"declares param {', '.join(changed)} otherwise" if changed else "has another input schema"
    )


def _text(value: object, default: str) -> str:
    return value if isinstance(value, str) else default


def _seconds(value: object) -> float | None:
    """Return a number that can be a duration or a count; None for all else, NaN and Infinity too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= LONGEST_S else None
