"""The order of the checks of `POST /task` (contract §2), proved by requests with two faults each."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import NamedTuple

import pytest

from tests.contract.worker.running import AS_CLIENT, JsonObject, RunningWorker, running_worker
from worker import function

BODY_LIMIT = 2000


@function
async def needs(ms: float) -> float:
    """Has a parameter that can be missing."""
    return ms


class Fault(NamedTuple):
    """One thing wrong with a request.

    Attributes:
        code: what the answer says when nothing before it is wrong.
        fields: what it changes in the body; None takes the field away.
        clashes: codes whose fault cannot be made in the same request.
    """

    code: str
    fields: JsonObject
    clashes: frozenset[str] = frozenset()


WELL: JsonObject = {"function": "needs", "contract": 1, "input": {"ms": 1}}
STREAM: JsonObject = {"mode": "stream"}
HOOK: JsonObject = {"mode": "webhook"}
# In the order of the contract; auth, size, JSON and maintenance are made otherwise than by a field.
FAULTS = [
    Fault("unauthorized", {}),
    Fault("body_too_large", {"x": "y" * BODY_LIMIT}, frozenset({"invalid_json"})),
    Fault("invalid_json", {}),
    Fault("maintenance", {}),
    Fault("invalid_priority", {"priority": 0}),
    Fault(
        "invalid_function",
        {"function": None},
        frozenset({"function_not_found", "streaming_not_supported", "invalid_params"}),
    ),
    Fault("invalid_contract", {"contract": "1"}, frozenset({"contract_mismatch"})),
    Fault("contract_mismatch", {"contract": 2}),
    Fault("invalid_input", {"input": []}, frozenset({"invalid_params"})),
    Fault(
        "invalid_mode",
        {"mode": "x"},
        frozenset({"streaming_not_supported", "invalid_webhook"}),
    ),
    Fault(
        "function_not_found",
        {"function": "nope"},
        frozenset({"streaming_not_supported", "invalid_params"}),
    ),
    Fault("streaming_not_supported", STREAM, frozenset({"invalid_webhook"})),
    Fault("invalid_webhook", HOOK),
    Fault("invalid_field", {"timeout_s": 0}),
    Fault("invalid_params", {"input": {}}),
]
PAIRS = [
    (first, second)
    for place, first in enumerate(FAULTS)
    for second in FAULTS[place + 1 :]
    # What JSON says cannot matter when there is none.
    if second.code not in first.clashes
]


@pytest.fixture
async def worker() -> AsyncGenerator[RunningWorker]:
    """A worker with one function."""
    async with running_worker([needs], request_body_limit=BODY_LIMIT) as running:
        yield running


async def _code_of(worker: RunningWorker, *faults: Fault) -> object:
    """Post a task with these faults and return the code of the answer."""
    codes = {fault.code for fault in faults}
    fields = dict(WELL)
    for fault in faults:
        fields.update(fault.fields)
    body = json.dumps(fields).encode()
    body = body[:-1] if "invalid_json" in codes else body
    if "maintenance" in codes:
        await worker.ask("POST", "/off")
    headers = {} if "unauthorized" in codes else AS_CLIENT
    return (await worker.task(body, headers)).code


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.code for fault in FAULTS])
async def test_one_fault_is_said(worker: RunningWorker, fault: Fault) -> None:
    """Each fault alone is the answer."""
    assert await _code_of(worker, fault) == fault.code


@pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=[f"{one.code} before {two.code}" for one, two in PAIRS]
)
async def test_the_earlier_fault_is_said(
    worker: RunningWorker, first: Fault, second: Fault
) -> None:
    """Of two faults the one that the contract lists first is the answer."""
    assert await _code_of(worker, first, second) == first.code


async def test_a_strangers_body_is_not_read(worker: RunningWorker) -> None:
    """401 comes although the body that was promised never does."""
    request = (
        "POST /task HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nAuthorization: x\r\n\r\n"
    )
    reader, writer = await worker.connect()
    writer.write(request.encode())
    status = await reader.readline()
    writer.close()
    assert status.startswith(b"HTTP/1.1 401 ")
