"""Who may do what (contract §1): keys compared in constant time, a `Bearer ` prefix optional everywhere."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NamedTuple

from shared.errors import Failure, failure

if TYPE_CHECKING:
    from shared.edge.headers import EdgeHeaders

_UNAUTHORIZED = failure("unauthorized")


class Keys(NamedTuple):
    """The keys of a worker; secret, and never shown."""

    auth_key: str
    lb_key: str

    def __repr__(self) -> str:
        return "Keys(auth_key='***', lb_key='***')"


def authorize_worker(headers: EdgeHeaders, auth_key: str, lb_key: str) -> Failure | None:
    """Check `POST /task` on a worker: AUTH_KEY, and `x-lb-auth` must fit when it is there."""
    if not is_key(headers.authorization, auth_key):
        return _UNAUTHORIZED
    if headers.lb_auth is not None and not is_key(headers.lb_auth, lb_key):
        return _UNAUTHORIZED
    return None


def authorize_maintenance(headers: EdgeHeaders, auth_key: str, lb_key: str) -> Failure | None:
    """Check `/on` and `/off` on a worker: as for a task, or `x-lb-auth` alone."""
    if headers.authorization is None and is_key(headers.lb_auth, lb_key):
        return None
    return authorize_worker(headers, auth_key, lb_key)


def authorize_logs(headers: EdgeHeaders, auth_key: str, lb_key: str) -> Failure | None:
    """Check `GET /logs` on a worker: either key, in its own header."""
    if is_key(headers.authorization, auth_key) or is_key(headers.lb_auth, lb_key):
        return None
    return _UNAUTHORIZED


def knows_a_key(headers: EdgeHeaders, auth_key: str, lb_key: str) -> bool:
    """Tell whether either key stands in either header: the full view of a worker's `/health`."""
    return any(
        is_key(given, key)
        for given in (headers.authorization, headers.lb_auth)
        for key in (auth_key, lb_key)
    )


def authorize_link(headers: EdgeHeaders, lb_key: str) -> Failure | None:
    """Check the opening of a link: LB_AUTH_KEY in `Authorization`."""
    return None if is_key(headers.authorization, lb_key) else _UNAUTHORIZED


def authorize_balancer(headers: EdgeHeaders, lb_key: str) -> Failure | None:
    """Check a route of the balancer that is not public: LB_AUTH_KEY in either header."""
    if is_key(headers.authorization, lb_key) or is_key(headers.lb_auth, lb_key):
        return None
    return _UNAUTHORIZED


def without_bearer(given: str) -> str:
    """Return a key without the prefix that is optional everywhere."""
    return given[7:].strip() if given[:7].lower() == "bearer " else given.strip()


def is_key(given: str | None, key: str) -> bool:
    """Compare what a header holds with a key; an empty key fits nothing."""
    if given is None or not key:
        return False
    # Bytes, because compare_digest takes no other text than ASCII; a header may hold anything.
    return hmac.compare_digest(_bytes(without_bearer(given)), _bytes(key))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
