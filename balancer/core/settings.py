"""The limits and windows of the scheduler, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much may wait, and how long.

    Attributes:
        max_queue: sync and stream tasks that may wait in one lane.
        max_queue_bytes: bytes of inputs and metadata that may wait in all lanes together.
        task_attempts: no task gets more attempts.
        no_worker_wait_s: seconds without any worker up after which waiting calls get 503.
        resume_window_s: seconds a closed link may take to come back before its attempts are lost.
        stall_window_s: seconds an open link may be silent before its attempts are lost.
        deaths_before_quarantine: workers that may die under a task before it is set aside.
        retry_cap_s: no backoff between attempts is longer.
    """

    max_queue: int = 10_000
    max_queue_bytes: int = 256 * 1024 * 1024
    task_attempts: int = 3
    no_worker_wait_s: float = 10.0
    resume_window_s: float = 2.0
    stall_window_s: float = 30.0
    deaths_before_quarantine: int = 3
    retry_cap_s: float = 60.0
