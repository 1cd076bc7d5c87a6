"""Every error of the product: one table of stable codes, one tree of exceptions.

    CabrankError
    ├── CallerError         the request was wrong; sending it again unchanged cannot help
    │   ├── Unauthorized    └── InvalidParams, NotFound, Conflict, TooLarge
    ├── WorkerError         the function or its worker failed
    │   ├── FunctionError   ├── TaskTimeout   ├── WorkerLost   └── WebhookFailed
    │   └── ContextMisuse (worker.authoring.context, a FunctionError)
    ├── FleetError          nobody can take the task now; trying later can help
    │   ├── QueueFull       ├── QueueTimeout  ├── NoWorker   └── Unavailable
    ├── TaskCancelled       somebody asked for it
    ├── ConfigError         a setting stops the start
    │   └── DeclarationError, DiscoveryError (worker.authoring)
    └── InternalError       a bug of ours

Inside the processes a failure is a value (`Failure`): raising costs more than the hot path has, and
a value can travel on the link. At the two ends it becomes an HTTP answer (status from `CODES`) or
an exception in the client (`error_of`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypedDict


class ParamProblem(TypedDict):
    """One thing wrong with one parameter."""

    param: str
    problem: str


class CodeRow(NamedTuple):
    """What a code means at the edge.

    Attributes:
        status: HTTP status.
        retryable: the same request may succeed later.
        message: default text, when nothing more exact is known.
    """

    status: int
    retryable: bool
    message: str


CODES: dict[str, CodeRow] = {
    # the caller's
    "unauthorized": CodeRow(401, False, "Unauthorized"),
    "forbidden": CodeRow(403, False, "Forbidden"),
    "bad_request": CodeRow(400, False, "Bad request"),
    "not_found": CodeRow(404, False, "Not found"),
    "method_not_allowed": CodeRow(405, False, "Method not allowed"),
    "request_timeout": CodeRow(408, True, "Request was not received in time"),
    "headers_too_large": CodeRow(431, False, "Request header fields too large"),
    "body_too_large": CodeRow(413, False, "Request body too large"),
    "invalid_json": CodeRow(400, False, "Invalid JSON body"),
    "invalid_priority": CodeRow(400, False, "Invalid priority: must be between 1 and 2097152"),
    "invalid_function": CodeRow(400, False, "Missing or invalid function name"),
    "invalid_contract": CodeRow(400, False, "Missing or invalid contract"),
    "contract_mismatch": CodeRow(400, False, "Contract version mismatch"),
    "invalid_input": CodeRow(400, False, "Invalid input: must be an object"),
    "invalid_mode": CodeRow(400, False, "Invalid mode"),
    "invalid_webhook": CodeRow(400, False, "Missing or invalid webhook.url for mode webhook"),
    "invalid_field": CodeRow(400, False, "Invalid field"),
    "invalid_params": CodeRow(400, False, "Invalid parameters"),
    "invalid_request": CodeRow(400, False, "Missing group, function, or contract"),
    "function_not_found": CodeRow(404, False, "Function not found"),
    "group_not_found": CodeRow(404, False, "Group not found"),
    "contract_not_found": CodeRow(404, False, "Contract not found"),
    "task_not_found": CodeRow(404, False, "Task not found"),
    "worker_not_found": CodeRow(404, False, "Worker not found"),
    "dead_letter_not_found": CodeRow(404, False, "Dead letter not found"),
    "streaming_not_supported": CodeRow(400, False, "Function does not support streaming"),
    "task_finished": CodeRow(409, False, "Task has already finished"),
    "cancelled": CodeRow(409, False, "Task was cancelled"),
    "idempotency_conflict": CodeRow(409, False, "Idempotency-Key was used for another request"),
    "not_quarantined": CodeRow(409, False, "Task is not quarantined"),
    # the function's or the worker's
    "function_error": CodeRow(500, True, "Function failed"),
    "timeout": CodeRow(504, True, "Timeout"),
    "worker_lost": CodeRow(502, True, "Worker was lost while it ran the task"),
    "webhook_failed": CodeRow(502, True, "Failed to send webhook"),
    "quarantined": CodeRow(500, False, "Task was running each time a worker died"),
    "result_too_large": CodeRow(500, False, "Result is larger than a link may carry"),
    "superseded": CodeRow(409, False, "Another attempt has taken the place of this one"),
    # the fleet's
    "maintenance": CodeRow(503, True, "Worker is in maintenance mode"),
    "queue_full": CodeRow(429, True, "Queue is full"),
    "queue_timeout": CodeRow(504, True, "No slot became free in time"),
    "expired": CodeRow(504, True, "Deadline passed before the task could start"),
    "no_worker_available": CodeRow(503, True, "No worker is available"),
    "worker_unreachable": CodeRow(502, True, "Worker could not be reached"),
    "no_slot": CodeRow(503, True, "Worker has no free slot"),
    "store_unavailable": CodeRow(503, True, "Store is unavailable"),
    "shutting_down": CodeRow(503, True, "Process is shutting down"),
    "protocol_error": CodeRow(502, True, "Peer broke the link protocol"),
    "unknown_message": CodeRow(400, False, "Message kind is not known"),
    "config_error": CodeRow(500, False, "Invalid configuration"),
    "internal_error": CodeRow(500, False, "Internal error"),
    # the client's own: what it finds on its side of the wire, never sent
    "unreachable": CodeRow(503, True, "Server could not be reached"),
    "connection_lost": CodeRow(502, True, "Connection was lost before the answer was complete"),
    "bad_answer": CodeRow(502, False, "Server gave an answer that is not of this contract"),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something did not happen, as a value.

    Attributes:
        code: a key of `CODES`; of a function's own failure too.
        message: text for a person; never a traceback, never a secret.
        details: problems by parameter, when code is invalid_params.
        error_type: name of the exception class, when the function raised.
        retry_after_s: seconds after which trying again makes sense.
    """

    code: str
    message: str
    details: tuple[ParamProblem, ...] = ()
    error_type: str | None = None
    retry_after_s: float | None = None

    @property
    def status(self) -> int:
        """Return the HTTP status of the code; 500 for one this version does not know."""
        row = CODES.get(self.code)
        return row.status if row else 500


def failure(
    code: str, message: str | None = None, *, retry_after_s: float | None = None
) -> Failure:
    """Return the failure of a code, with its default text unless a better one is given."""
    return Failure(
        code, CODES[code].message if message is None else message, retry_after_s=retry_after_s
    )


class CabrankError(Exception):
    """Something failed."""

    code: str = "internal_error"  # of the class; an instance has the exact one of its failure

    def __init__(self, message: str | None = None, *, failure: Failure | None = None) -> None:
        text = (
            message or (failure.message if failure else None) or (type(self).__doc__ or "").strip()
        )
        super().__init__(text)
        self.message = text
        self.failure = failure or Failure(self.code, text)
        self.code = self.failure.code
        self.task_id: str | None = None

    @property
    def retry_after_s(self) -> float | None:
        """Return the seconds after which trying again makes sense, when that is known."""
        return self.failure.retry_after_s

    @property
    def retryable(self) -> bool:
        """Tell whether the same request may succeed later."""
        row = CODES.get(self.failure.code)
        return row.retryable if row else False


class CallerError(CabrankError):
    """The request is wrong."""

    code = "bad_request"


class Unauthorized(CallerError):
    """Unauthorized"""

    code = "unauthorized"


class NotFound(CallerError):
    """Not found"""

    code = "not_found"


class Conflict(CallerError):
    """The task is not in a state that allows this."""

    code = "task_finished"


class TooLarge(CallerError):
    """Request body too large"""

    code = "body_too_large"


class InvalidParams(CallerError):
    """Invalid parameters"""

    code = "invalid_params"

    def __init__(
        self,
        message: str | None = None,
        *,
        details: tuple[ParamProblem, ...] = (),
        failure: Failure | None = None,
    ) -> None:
        text = message or (details[0]["problem"] if details else None)
        super().__init__(
            text, failure=failure or Failure(self.code, text or "Invalid parameters", details)
        )
        self.details = self.failure.details


class WorkerError(CabrankError):
    """The worker failed."""

    code = "worker_lost"


class FunctionError(WorkerError):
    """Function failed"""

    code = "function_error"


class TaskTimeout(WorkerError):
    """Timeout"""

    code = "timeout"


class WorkerLost(WorkerError):
    """Worker was lost while it ran the task"""

    code = "worker_lost"


class WebhookFailed(WorkerError):
    """Failed to send webhook"""

    code = "webhook_failed"


class FleetError(CabrankError):
    """Nobody can take the task now."""

    code = "no_worker_available"


class QueueFull(FleetError):
    """Queue is full"""

    code = "queue_full"


class QueueTimeout(FleetError):
    """No slot became free in time"""

    code = "queue_timeout"


class NoWorker(FleetError):
    """No worker is available"""

    code = "no_worker_available"


class Unavailable(FleetError):
    """The service cannot answer now."""

    code = "store_unavailable"


class TaskCancelled(CabrankError):
    """Task was cancelled"""

    code = "cancelled"


class ConfigError(CabrankError):
    """Invalid configuration"""

    code = "config_error"


class InternalError(CabrankError):
    """Internal error"""

    code = "internal_error"


_CLASS_OF_CODE: dict[str, type[CabrankError]] = {
    "unauthorized": Unauthorized,
    "forbidden": Unauthorized,
    "not_found": NotFound,
    "function_not_found": NotFound,
    "group_not_found": NotFound,
    "contract_not_found": NotFound,
    "task_not_found": NotFound,
    "worker_not_found": NotFound,
    "dead_letter_not_found": NotFound,
    "task_finished": Conflict,
    "not_quarantined": Conflict,
    "superseded": Conflict,
    "idempotency_conflict": Conflict,
    "body_too_large": TooLarge,
    "headers_too_large": TooLarge,
    "invalid_params": InvalidParams,
    "function_error": FunctionError,
    "quarantined": WorkerError,
    "result_too_large": WorkerError,
    "protocol_error": WorkerError,
    "timeout": TaskTimeout,
    "worker_lost": WorkerLost,
    "webhook_failed": WebhookFailed,
    "queue_full": QueueFull,
    "queue_timeout": QueueTimeout,
    "expired": QueueTimeout,
    "no_worker_available": NoWorker,
    "no_slot": NoWorker,
    "worker_unreachable": NoWorker,
    "maintenance": Unavailable,
    "shutting_down": Unavailable,
    "store_unavailable": Unavailable,
    "request_timeout": Unavailable,
    "unreachable": Unavailable,
    "connection_lost": Unavailable,
    "cancelled": TaskCancelled,
    "config_error": ConfigError,
    "internal_error": InternalError,
}


def error_of(failure: Failure) -> CabrankError:
    """Return the exception that a failure is for Python callers."""
    kind = _CLASS_OF_CODE.get(failure.code)
    if kind is None:
        kind = CallerError if 400 <= failure.status < 500 else CabrankError
    return kind(failure.message, failure=failure)
