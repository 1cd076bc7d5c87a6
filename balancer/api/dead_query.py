"""Which dead letters a request means: the query of a URL, or the body of `POST /dead/replay`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec

from balancer.store.ports_dead import DeadFilter
from shared.dead_letter import DeadKind
from shared.errors import CallerError, failure
from shared.log_ring import moment_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

PAGE = 50
LARGEST_PAGE = 1000
REPLAYED = 100  # of one order, unless it says otherwise
MOST_REPLAYED = 1000
MAX_CURSOR = 1024  # characters
MAX_BODY = 64 * 1024  # bytes of a filter

_FILTERS = ("kind", "function", "group", "code", "since", "before")


@dataclass(frozen=True, slots=True)
class DeadPage:
    """A page that is asked for."""

    chosen: DeadFilter
    limit: int
    cursor: str | None


def read_page(query: Mapping[str, str]) -> DeadPage:
    """Return what `GET /dead` asks for; unknown names are ignored.

    Raises:
        CallerError: a value is not what is expected.
    """
    limit = query.get("limit")
    cursor = query.get("cursor")
    if cursor is not None and len(cursor) > MAX_CURSOR:
        raise _invalid("cursor", "the `next` of the page before")
    number = PAGE if limit is None else _number(limit)
    return DeadPage(_filter(query), _checked_limit(number, LARGEST_PAGE), cursor)


def read_purge(query: Mapping[str, str]) -> DeadFilter:
    """Return what `DELETE /dead` is to forget. All of them only when it says so, and no name is ignored:
    a slip of the pen must not cost more than was meant.

    Raises:
        CallerError: a value is not what is expected.
    """  # fmt: skip
    _refuse_unknown(query, (*_FILTERS, "all"))
    everything = query.get("all")
    if everything not in (None, "true", "false"):
        raise _invalid("all", "true or false")
    if everything != "true" and not any(name in query for name in _FILTERS):
        raise _invalid("filter", f"one of {', '.join(_FILTERS)}, or all=true")
    return _filter(query)


def read_replay(body: bytes) -> tuple[DeadFilter, int]:
    """Return what `POST /dead/replay` asks for; nothing at all means every letter.

    Raises:
        CallerError: it is no JSON object, or a member is not what is expected.
    """
    try:
        value: object = msgspec.json.decode(body or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CallerError(failure=failure("invalid_json")) from None
    if not isinstance(value, dict):
        raise _invalid("filter", "a JSON object")
    members = {
        name: each for name, each in cast("dict[str, object]", value).items() if each is not None
    }
    _refuse_unknown(members, (*_FILTERS, "limit"))
    return _filter(members), _checked_limit(members.get("limit", REPLAYED), MOST_REPLAYED)


def _filter(given: Mapping[str, object]) -> DeadFilter:
    texts: dict[str, str] = {}
    for name in _FILTERS:
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise _invalid(name, "a text")
        texts[name] = value
    kind = texts.get("kind")
    if kind is not None and kind not in list(DeadKind):
        raise _invalid("kind", f"one of {', '.join(DeadKind)}")
    return DeadFilter(
        kinds=() if kind is None else (DeadKind(kind),),
        function=texts.get("function"),
        group=texts.get("group"),
        code=texts.get("code"),
        since=_moment("since", texts.get("since")),
        before=_moment("before", texts.get("before")),
    )


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = moment_of(text)
    if moment is None:
        raise _invalid(name, "an ISO 8601 date and time")
    return moment


def _number(text: str) -> object:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _checked_limit(value: object, largest: int) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 1 <= value <= largest:
        raise _invalid("limit", f"a whole number from 1 to {largest}")
    return value


def _refuse_unknown(given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise _invalid(name[:64], f"one of {', '.join(known)}")


def _invalid(field: str, expected: str) -> CallerError:
    return CallerError(failure=failure("invalid_field", f"Invalid {field}: expected {expected}"))
