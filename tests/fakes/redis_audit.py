"""Looks into a Redis, past the store: every key must be accounted for, and the indexes must agree.

A key without an expiry that nothing leads to is a leak: it stays for ever. So each key of a namespace
is either one of the few that every namespace has, or is found through the lists that pruning goes by.
"""

from __future__ import annotations

import re

from tests.fakes.raw_redis import raw_redis, texts

META = {"schema", "parts", "maintenance", "members"}
INDEXES = {"n", "due", "open", "ended", "all", "l", "later", "o", "k", "onces", "d", "dead"}


class RedisAudit:
    """Checks the keys of a namespace.

    Args:
        urls: of the server, or of every node of a cluster.
        namespace: whose keys.
    """

    def __init__(self, urls: list[str], namespace: str) -> None:
        self._nodes = [raw_redis(url) for url in urls]
        self._all = raw_redis(urls[0], cluster=len(urls) > 1)
        self._namespace = namespace

    def keys(self) -> list[str]:
        """Return every key of the namespace."""
        pattern = f"{{{self._namespace}:*"
        found = (texts(node.execute_command("KEYS", pattern)) for node in self._nodes)
        return sorted({key for keys in found for key in keys})

    def remove(self) -> None:
        """Remove every key of the namespace."""
        for key in self.keys():
            self._ask("DEL", key)
        for client in (*self._nodes, self._all):
            client.close()

    def check(self) -> None:
        """Fail when a key or an entry of an index leads nowhere.

        Raises:
            AssertionError: one does.
        """
        problems: list[str] = []
        for key in self.keys():
            part, _, name = key[1:].partition("}:")
            kind, _, rest = name.partition(":")
            if part.endswith(":meta") and name != "lease":
                fine = name in META
            elif kind in ("w", "c") or name == "lease":
                fine = int(self._ask("PTTL", key) or 0) > 0
            elif kind in ("t", "h"):
                fine = self._leads_to(f"{{{part}}}:", kind, rest)
            else:
                fine = kind in INDEXES and all(
                    self._entry_holds(f"{{{part}}}:", kind, rest, entry)
                    for entry in self._entries(key)
                )
            if not fine:
                problems.append(key)
        assert not problems, f"keys that nothing leads to, or that lead nowhere: {problems}"

    def _ask(self, *command: str | int) -> str | None:
        answer = self._all.execute_command(*command)
        return None if answer is None else str(answer)

    def _field(self, key: str, field: str) -> str | None:
        return self._ask("HGET", key, field)

    def _leads_to(self, part: str, kind: str, rest: str) -> bool:
        """Tell whether a task is in the lists it should be in, and a webhook at its task."""
        if kind == "h":
            task = self._field(f"{part}h:{rest}", "task")
            return self._field(f"{part}t:{task}", "hook") == rest
        listed = self._ask("ZSCORE", f"{part}all", rest) is not None
        ended = self._field(f"{part}t:{rest}", "fin") is not None
        pending = self._field(f"{part}h:{self._field(f'{part}t:{rest}', 'hook')}", "st")
        if self._field(f"{part}t:{rest}", "key") is not None:
            wanted = "onces"
        elif self._field(f"{part}t:{rest}", "let") is not None:
            wanted = "all"
        else:
            wanted = "open" if not ended else "ended" if pending != "pending" else "all"
        return listed and self._ask("ZSCORE", f"{part}{wanted}", rest) is not None

    def _entries(self, key: str) -> list[str]:
        kind = self._ask("TYPE", key)
        if kind == "zset":
            return texts(self._all.execute_command("ZRANGE", key, 0, -1))
        if kind == "set":
            return texts(self._all.execute_command("SMEMBERS", key))
        names = texts(self._all.execute_command("HKEYS", key))
        return [
            f"{name}={self._field(key, name)}" if key.endswith(":n") else name for name in names
        ]

    def _entry_holds(self, part: str, index: str, rest: str, entry: str) -> bool:
        if index == "n":
            name, _, value = entry.partition("=")
            return name != "bytes" or int(value) == self._pending_bytes(part)
        if index == "due":
            return self._field(f"{part}h:{entry.split(chr(10), 2)[2]}", "st") == "pending"
        if index == "dead":
            return self._ask("HEXISTS", f"{part}d", entry) in ("1", "True")
        if index == "d":
            return self._ask("ZSCORE", f"{part}dead", entry) is not None
        if index == "k":
            names = texts(self._all.execute_command("ZRANGE", f"{part}onces", 0, -1))
            return entry.partition("=")[0] in [self._field(f"{part}t:{i}", "key") for i in names]
        task = f"{part}t:{entry[16:] if index == 'l' else entry}"
        status, owner = self._field(task, "st"), self._field(task, "own")
        ended = self._field(task, "fin") is not None
        return {
            "open": not ended,
            "ended": ended,
            "all": True,
            "onces": self._field(task, "key") is not None,
            "l": status == "queued" and self._field(task, "lane") == rest,
            "later": status == "scheduled",
            "o": status == "running" and owner == rest,
        }.get(index, False) and status is not None

    def _pending_bytes(self, part: str) -> int:
        found = (key for key in self.keys() if re.match(re.escape(part) + "h:", key))
        return sum(
            int(self._field(key, "size") or 0)
            for key in found
            if self._field(key, "st") == "pending"
        )
