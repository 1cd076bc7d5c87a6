"""A server that speaks the contract, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.client import Client
from tests.fakes.contract_server import KEY, ContractServer, echo, fail, nothing


@pytest.fixture
async def server() -> AsyncIterator[ContractServer]:
    """A server with a few functions."""
    async with ContractServer() as server:
        server.calls = {"echo": echo, "nothing": nothing, "fail": fail}
        yield server


@pytest.fixture
async def client(server: ContractServer) -> AsyncIterator[Client]:
    """A client with the right key."""
    async with Client(server.url, key=KEY) as client:
        yield client
