"""Builds the body of `POST /task` (contract §2) from what a caller gave, checking what JSON cannot say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict

from shared.errors import CallerError, failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.client.records import Json


class Webhook(TypedDict, total=False):
    """Where and how a result is delivered; `url` is required."""

    url: str
    headers: dict[str, str]  # sent with the result, after the fleet's own
    envelope: bool  # send the outcome envelope for successes too, not the bare result


def input_of(given: Mapping[str, Json] | None, params: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the input of a call: keyword parameters, or one mapping for names that we use ourselves.

    Raises:
        CallerError: both were given.
    """
    if given is None:
        return params
    if params:
        raise CallerError(
            failure=failure("invalid_input", "Give keyword parameters or input=…, not both")
        )
    return given


def encode_body(members: Mapping[str, Json]) -> bytes:
    """Return JSON of the members that are not None.

    Raises:
        CallerError: a value cannot be carried as JSON; NaN and Infinity are such values.
    """
    present = {name: value for name, value in members.items() if value is not None}
    try:
        return json.dumps(present, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as exc:
        text = f"Input and metadata must be JSON values: {exc}"
        raise CallerError(failure=failure("invalid_input", text)) from exc


def webhook_of(target: str | Webhook | None) -> Webhook | None:
    """Return the member `webhook` for a URL or a whole target."""
    return Webhook(url=target) if isinstance(target, str) else target
