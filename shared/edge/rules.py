"""What a worker and a balancer check differently in `POST /task` (contract §2 and §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from shared.edge.fields import contract_of, function_of
from shared.edge.headers import is_durable
from shared.errors import Failure, failure
from shared.task import Mode

if TYPE_CHECKING:
    from shared.capability import FunctionSpec
    from shared.edge.headers import EdgeHeaders

_INVALID_REQUEST = failure("invalid_request")
_MAINTENANCE = failure("maintenance")
_NOT_LATER = failure(
    "invalid_field",
    "Invalid delay_s or run_at: only durable tasks start later: mode webhook, Prefer: respond-async, or an"
    " Idempotency-Key",
)
_NOT_LATER_HERE = failure(
    "invalid_field",
    "Invalid delay_s or run_at: a worker that is asked directly starts tasks at once",
)


class TaskRules(Protocol):
    """The checks of one side, in the order in which the codec asks for them."""

    def admit(self) -> Failure | None:
        """Check whether tasks are taken at all; right after the body was read."""
        ...

    def group_of(self, group: object, function: object, contract: object) -> str | Failure:
        """Return the group of the task; the three fields are as the caller wrote them.

        UNSET or None stand for what is missing.
        """
        ...

    def check_contract(self, contract: int) -> Failure | None:
        """Check the contract, once it is known to be an integer."""
        ...

    def check_function(self, function: str, mode: Mode) -> Failure | None:
        """Check that the function can be called in this mode, once both are known."""
        ...

    def check_start(self, mode: Mode, headers: EdgeHeaders) -> Failure | None:
        """Check that a task may start later than now; only of one that asks for it."""
        ...

    def check_sound(self, group: str, function: str, contract: int, mode: Mode) -> str | Failure:
        """Do all of this at once for a task whose fields are sound each; returns its group.

        A group of "" is one that the caller left out.
        """
        ...


class WorkerState(Protocol):
    """What a worker's engine tells the rules."""

    @property
    def maintenance(self) -> bool:
        """Tell whether it takes no new task."""
        ...

    def find_function(self, name: str) -> FunctionSpec | None:
        """Return a function that it hosts."""
        ...


class WorkerRules:
    """The rules of a worker.

    Args:
        contract: its CONTRACT.
        state: its engine.
    """

    __slots__ = ("_contract", "_state")

    def __init__(self, contract: int, state: WorkerState) -> None:
        self._contract = contract
        self._state = state

    def admit(self) -> Failure | None:
        """Refuse in maintenance."""
        return _MAINTENANCE if self._state.maintenance else None

    def group_of(self, group: object, function: object, contract: object) -> str | Failure:
        """Ignore the group, as Andera's worker does."""
        return ""

    def check_contract(self, contract: int) -> Failure | None:
        """Refuse any contract but the worker's own."""
        if contract == self._contract:
            return None
        text = f"Contract version mismatch: requested {contract}, worker is {self._contract}"
        return failure("contract_mismatch", text)

    def check_function(self, function: str, mode: Mode) -> Failure | None:
        """Refuse a function that is not hosted, or that cannot stream when it is to."""
        spec = self._state.find_function(function)
        if spec is None:
            return function_not_found(function)
        if mode is Mode.STREAM and not spec.streaming:
            return streaming_not_supported(function)
        return None

    def check_start(self, mode: Mode, headers: EdgeHeaders) -> Failure | None:
        """Refuse: what a worker was asked directly it runs at once."""
        return _NOT_LATER_HERE

    def check_sound(self, group: str, function: str, contract: int, mode: Mode) -> str | Failure:
        """Do all of this at once; a worker has no group."""
        refused = self.admit() or self.check_contract(contract)
        return refused or self.check_function(function, mode) or ""


class Directory(Protocol):
    """What a balancer's scheduler tells the rules."""

    def only_group(self, function: str, contract: int) -> str | Failure | None:
        """Return the only group that hosts a function; None or why when there is no such."""
        ...


class BalancerRules:
    """The rules of a balancer; what is not found is its scheduler's to say, after all fields.

    Args:
        directory: its scheduler.
    """

    __slots__ = ("_directory",)

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def admit(self) -> Failure | None:
        """Admit: a balancer that shuts down says so when the task is submitted."""
        return None

    def group_of(self, group: object, function: object, contract: object) -> str | Failure:
        """Demand all three; a group only when several host the function."""
        named = type(group) is str and type(function) is str and type(contract) is int
        if named and group and function:
            return cast("str", group)  # what nearly every call has
        if is_missing(function) or is_missing(contract):
            return _INVALID_REQUEST
        if not is_missing(group):
            return group if type(group) is str else _INVALID_REQUEST
        name, version = function_of(function), contract_of(contract)
        if isinstance(name, Failure) or isinstance(version, Failure):
            return ""  # refused later, by the field's own check and with its own text
        found = self._directory.only_group(name, version)
        return _INVALID_REQUEST if found is None else found

    def check_contract(self, contract: int) -> Failure | None:
        """Leave it to the scheduler, which knows what every group serves."""
        return None

    def check_function(self, function: str, mode: Mode) -> Failure | None:
        """Leave it to the scheduler, which knows what every worker hosts."""
        return None

    def check_start(self, mode: Mode, headers: EdgeHeaders) -> Failure | None:
        """Refuse a task that is not durable: its caller would only hold a connection."""
        return None if is_durable(mode, headers) else _NOT_LATER

    def check_sound(self, group: str, function: str, contract: int, mode: Mode) -> str | Failure:
        """Find the group if none is given; the rest is the scheduler's."""
        return group or self.group_of(None, function, contract)


def is_missing(value: object) -> bool:
    """Tell whether a field was omitted, null or empty."""
    return value is None or value is msgspec.UNSET or value == ""


def function_not_found(function: str) -> Failure:
    """Return the failure for a function that nobody hosts, in Andera's words."""
    return failure("function_not_found", f"Function '{function}' not found")


def streaming_not_supported(function: str) -> Failure:
    """Return the failure for a stream of a function that returns at once, in Andera's words."""
    return failure("streaming_not_supported", f"Function '{function}' does not support streaming")
