"""Content negotiation: which of the forms that we offer an `Accept` header asks for (RFC 9110 §12.5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def preferred(accept: str | None, offers: Sequence[str], default: str) -> str:
    """Return the offer that is asked for by name with the highest quality, else the default.

    A wildcard asks for nothing by name, so it gets the default; among equals the client's order
    decides. An offer with quality 0 is refused. Nothing acceptable is no error: a caller is better
    served by an answer than by a 406.

    Args:
        accept: the header; None when there was none.
        offers: media types in lower case, the default not among them necessarily.
        default: what is sent when none of the offers is asked for.
    """
    if not accept or accept == "*/*":
        return default
    best, best_quality = default, 0.0
    for item in accept.lower().split(","):
        media, *parameters = item.split(";")
        media = media.strip()
        if media not in offers:
            continue
        quality = _quality(parameters)
        if quality > best_quality:
            best, best_quality = media, quality
    return best


def _quality(parameters: Sequence[str]) -> float:
    """Return the `q` among parameters; 1 when it is missing, 0 when it is no number from 0 to 1."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0.0 <= quality <= 1.0 else 0.0
    return 1.0
