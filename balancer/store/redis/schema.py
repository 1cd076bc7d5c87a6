"""The version of what is kept: a newer one is refused, an older one is migrated at the start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from shared.errors import ConfigError

if TYPE_CHECKING:
    from balancer.store.redis.parts import Keys
    from balancer.store.redis.wire import Wire

Migration = Callable[["Wire", "Keys"], Awaitable[None]]


async def _version_1(wire: Wire, keys: Keys) -> None:
    """Begin: an empty namespace needs nothing."""
    del wire, keys


# A new version is one more entry at the end, and an entry is never changed. One may be begun again when
# it was cut short, so it must bear that.
MIGRATIONS: tuple[Migration, ...] = (_version_1,)


async def migrate(
    wire: Wire, keys: Keys, shown: str, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Bring a namespace to the newest version.

    Raises:
        ConfigError: it belongs to a newer Cabrank or to another program.
        Unavailable: the server does not answer.
    """
    answer = await wire.command("GET", keys.meta("schema"))
    text = answer.decode("ascii", "replace") if isinstance(answer, bytes) else "0"
    if not text.isdigit():
        raise ConfigError(
            f"Store {shown} has the data of another program under {keys.namespace!r}:"
            " give another namespace (?namespace=…)"
        )
    version = int(text)
    if version > len(migrations):
        raise ConfigError(
            f"Store {shown} has schema version {version}, and this Cabrank knows versions up to"
            f" {len(migrations)}: run the newer Cabrank that wrote it, or give another namespace"
            " (?namespace=…)"
        )
    for number, change in enumerate(migrations[version:], start=version + 1):
        await change(wire, keys)
        await wire.command("SET", keys.meta("schema"), number)
