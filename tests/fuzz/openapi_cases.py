"""What schemathesis makes of a document, with types: the part of it that is used here, and no more.

Its own classes are generic over what cannot be named from outside, so they are seen through protocols.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, cast

import msgpack
import schemathesis
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

if TYPE_CHECKING:
    import requests

JsonObject = dict[str, object]

MSGPACK = "application/msgpack"
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)

# An answer is one of those that are documented: its status, its media type, its headers, its body.
SHOWN = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# What the document allows is taken, and nothing else.
TAKEN = ("positive_data_acceptance", "negative_data_rejection")


class Response(Protocol):
    """An answer."""

    status_code: int
    headers: Mapping[str, list[str]]
    content: bytes
    request: requests.PreparedRequest


class Operation(Protocol):
    """A method of a path."""

    path: str
    method: str
    query: Iterable[object]
    body: Iterable[object]

    def as_strategy(self, generation_mode: GenerationMode) -> SearchStrategy[Case]:
        """Return a strategy for its cases of a mode."""
        ...


class Case(Protocol):
    """A request."""

    operation: Operation
    method: str
    path_parameters: JsonObject
    headers: dict[str, str]
    query: JsonObject
    body: object

    def call(
        self,
        base_url: str,
        session: requests.Session,
        headers: Mapping[str, bytes],
        *,
        timeout: float,
    ) -> Response:
        """Send it."""
        ...

    def validate_response(self, response: Response, checks: list[object]) -> None:
        """Fail unless an answer passes checks."""
        ...

    def as_curl_command(self, headers: Mapping[str, str]) -> str:
        """Say how to send it again."""
        ...


class _Config(Protocol):
    def generation_for(self, *, operation: Operation, phase: str) -> object: ...


class _Schema(Protocol):
    config: _Config

    def __getitem__(self, path: str) -> Mapping[str, Operation]: ...

    def iter_coverage_cases(
        self,
        operation: Operation,
        *,
        generation_modes: list[GenerationMode],
        generation_config: object,
    ) -> Iterable[Case]: ...


def check(case: Case, response: Response, names: Iterable[str]) -> None:
    """Fail unless an answer passes these checks of schemathesis."""
    known = cast("dict[str, object]", vars(checks))
    case.validate_response(response, [known[name] for name in names])


class Cases:
    """The operations of a document, and cases for them.

    Args:
        document: OpenAPI.
    """

    def __init__(self, document: JsonObject) -> None:
        self._schema = cast("_Schema", schemathesis.openapi.from_dict(document))

    def operation(self, path: str, method: str) -> Operation:
        """Return an operation."""
        return self._schema[path][method]

    def boundaries(self, operation: Operation, count: int, chance: random.Random) -> list[Case]:
        """Return the cases at the limits of an operation's schemas, or a sample when there are more."""
        config = self._schema.config.generation_for(operation=operation, phase="coverage")
        found = list(
            self._schema.iter_coverage_cases(
                operation, generation_modes=list(MODES), generation_config=config
            )
        )
        return found if len(found) <= count else chance.sample(found, count)


@schemathesis.serializer(MSGPACK)
def _packed(context: object, value: object) -> bytes:
    del context
    return msgpack.packb(value)


@schemathesis.deserializer(MSGPACK)
def _unpacked(context: object, response: schemathesis.Response) -> object:
    del context
    return cast("object", msgpack.unpackb(response.content))
