"""workers.json: the fleet to dial (contract §6), read tolerantly and re-read when it changes.

A missing or broken file keeps the last good list. Reading is pure (`parse`); `RosterFile` looks at
the file; names behind `dns+http://` are expanded by the fleet, because that takes a resolver.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from shared.ids import WorkerId

MAX_FILE = 4 * 1024**2  # bytes; 10,000 workers with keys are about 1.5 MiB
MAX_ENTRIES = 10_000
_SCHEMES = {"http": 80, "https": 443, "dns+http": 80, "dns+https": 443}


class RosterError(ValueError):
    """The file cannot be used; the text says why, with the entry's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One worker to dial.

    Attributes:
        url: `http://host:port`, without a trailing slash.
        id: `host:port`.
        auth_key: the worker's AUTH_KEY when the entry names it. Secret.
        weight: share of work relative to the others.
        dns: `url` stands for every address of its name.
    """

    url: str
    id: WorkerId
    auth_key: str | None = field(default=None, repr=False)
    weight: float = 1.0
    dns: bool = False


def parse(text: str, environment: dict[str, str]) -> list[Entry]:
    """Return the entries of a workers.json, without duplicates, in its order.

    Args:
        text: the file.
        environment: where `auth_key_env` looks.

    Raises:
        RosterError: the text is not a list of entries.
    """
    try:
        items: object = json.loads(text)
    except ValueError as exc:
        raise RosterError(f"not JSON: {exc}") from exc
    if not isinstance(items, list):
        raise RosterError("expected a JSON array of URLs or objects")
    listed = cast("list[object]", items)
    if len(listed) > MAX_ENTRIES:
        raise RosterError(f"{len(listed)} entries; at most {MAX_ENTRIES} are read")
    entries: dict[str, Entry] = {}
    for place, item in enumerate(listed):
        entry = _entry(place, item, environment)
        entries.setdefault(entry.url, entry)
    return list(entries.values())


def _entry(place: int, item: object, environment: dict[str, str]) -> Entry:
    if isinstance(item, str):
        return entry_of(item, place=place)
    if not isinstance(item, dict):
        raise RosterError(f"entry {place}: expected a URL or an object")
    fields = cast("dict[str, object]", item)
    url = fields.get("url")
    if not isinstance(url, str):
        raise RosterError(f"entry {place}: url is missing")
    weight = fields.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1000:
        raise RosterError(f"entry {place}: weight must be a number over 0, up to 1000")
    key = fields.get("auth_key")
    if key is not None and not isinstance(key, str):
        raise RosterError(f"entry {place}: auth_key must be a string")
    variable = fields.get("auth_key_env")
    if variable is not None:
        if not isinstance(variable, str) or not environment.get(variable):
            raise RosterError(
                f"entry {place}: the variable {variable!r} of auth_key_env is not set"
            )
        key = environment[variable]
    return entry_of(url, place=place, auth_key=key, weight=float(weight))


def entry_of(
    url: str, *, place: int = 0, auth_key: str | None = None, weight: float = 1.0
) -> Entry:
    """Return the entry of a URL.

    Raises:
        RosterError: it is no URL of a worker.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as exc:
        raise RosterError(f"entry {place}: {exc}") from exc
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise RosterError(f"entry {place}: expected http://host:port, https:// or dns+http://")
    if parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        raise RosterError(f"entry {place}: a worker's URL has no path, query or user")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    address = f"{host}:{port or _SCHEMES[parts.scheme]}"
    scheme = parts.scheme.removeprefix("dns+")
    return Entry(
        url=f"{scheme}://{address}", id=WorkerId(address), auth_key=auth_key, weight=weight,
        dns=parts.scheme.startswith("dns+"),
    )  # fmt: skip


class RosterFile:
    """The file on disk.

    Attributes:
        entries: the last good list.
        problem: why the file as it is cannot be used; None when it can.
        path: where it is.
    """

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.entries: list[Entry] = []
        self.problem: str | None = None
        self.path = path
        self._environment = environment
        self._seen: tuple[int, int, int] | str | None = "never"

    def look(self) -> bool:
        """Read the file when it changed since the last look; True when entries or problem did."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        before = (self.entries, self.problem)
        try:
            if stamp is None:
                raise RosterError(f"{self.path} is missing")
            if stamp[1] > MAX_FILE:
                raise RosterError(f"{self.path} is larger than {MAX_FILE} bytes")
            self.entries = parse(self.path.read_text("utf-8"), self._environment)
            self.problem = None
        except (RosterError, OSError, UnicodeDecodeError) as exc:
            self.problem = str(exc)
        return before != (self.entries, self.problem)

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)
