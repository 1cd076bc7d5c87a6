"""The pages of every error code and every log event, made from their tables.

`python -m cabrank.cli.reference errors` prints one, `… events` the other.
"""

from __future__ import annotations

import sys

from shared.errors import CODES
from shared.telemetry import markdown

_ERRORS = """# Errors

Generated from `shared/errors.py` by `python -m cabrank.cli.reference errors`; a test compares.

Every error body is `{"success": false, "error": "…", "code": "…"}`, with `task_id`, `details` and `error_type` where
they are known. Programs go by the code: codes never change, texts may. *Again* says whether the same request may
succeed later.

| code | status | again | text, unless something more exact is known |
| --- | --- | --- | --- |
"""

_EVENTS = """# Log events

Generated from `shared/telemetry.py` by `python -m cabrank.cli.reference events`; a test compares.

A log line has `timestamp`, `level`, `prefix` and `event` (its text). What happens to tasks, workers, links, webhooks
and the store also has an `action`, which never changes, and the fields below; `correlation_id` is on every line that
belongs to a request.

"""


def errors_page() -> str:
    """Return the page of every code."""
    rows = (
        f"| `{code}` | {row.status} | {'yes' if row.retryable else 'no'} | {row.message} |\n"
        for code, row in CODES.items()
    )
    return _ERRORS + "".join(rows)


def events_page() -> str:
    """Return the page of every event."""
    return f"{_EVENTS}{markdown()}\n"


if __name__ == "__main__":
    print({"errors": errors_page, "events": events_page}[sys.argv[1]](), end="")
