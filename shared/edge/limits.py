"""The limits of the HTTP edge, each with its reason. One set for every shell of both processes."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# Requests

REQUEST_BODY_LIMIT = 10 * MIB  # Andera's default (REQUEST_BODY_LIMIT=10mb)
MAX_LINE = 8 * KIB  # request line, and each header; nginx and Apache take 8 KiB too
MAX_HEADERS = 100  # header fields of a request; Apache's bound
BODY_TIMEOUT_S = 60.0  # a whole body must have come by then; nginx waits 60 s between two reads
KEEP_ALIVE_S = (
    75.0  # an idle connection is closed after; nginx's default, above most clients' pools
)

# Fields of POST /task

MAX_NAME = 256  # characters of function and group; far above any real name, far below a body
MAX_SECONDS = 31_536_000.0  # one year: what a timer can bear and nobody needs more of
MAX_ATTEMPTS = 1000  # TASK_ATTEMPTS caps it further; this only keeps numbers sane
MAX_CODES = 32  # of `retry_on`; above the number of codes that an attempt can end with
MAX_MOMENT = 64  # characters of `run_at`; twice what a moment with microseconds and offset takes
MAX_KEY = 255  # characters of `Idempotency-Key`; as others who take one have it
MAX_METADATA = 16 * KIB  # 10,000 finished tasks are remembered with theirs: 160 MiB at the worst
MAX_CONTRACT = 2**53 - 1  # integers that every JSON reader keeps exact
MAX_WEBHOOK_URL = 2 * KIB  # what browsers and proxies pass on safely
MAX_WEBHOOK_HEADERS = 64
MAX_WEBHOOK_HEADER_BYTES = 8 * KIB  # names and values together: most servers refuse more

# Waiting

MAX_PREFER_WAIT_S = 300.0  # `Prefer: wait=N`; TASK_TIMEOUT's default, longer ones are cut to it
MAX_POLL_S = 60.0  # `GET /tasks/{id}?wait=N`; what proxies let a silent answer wait

# Correlation

MAX_CORRELATION_ID = 128  # characters; longer ones are cut

# Streams

MAX_PENDING = (
    8 * MIB
)  # unread bytes of one stream; its credit is far less, so more means a broken peer
MAX_WRITE = 64 * KIB  # bytes taken from a stream for one write; asyncio's own high-water mark
RING_EVENTS = 1000  # sent events that an SSE reader who comes back can have again …
RING_BYTES = MIB  # … and their bytes: above what sockets on the way hold
RESUME_GRACE_S = 15.0  # an SSE reader may take so long to come back before its task is cancelled
SSE_KEEP_ALIVE_S = 15.0  # proxies close a silent connection after 30 to 60 s
LINGER_S = 60.0  # after the end of a task, a reader that takes nothing for so long is dropped
