"""The limits of the scheduler."""

from __future__ import annotations

from balancer.core.settings import Settings


def test_the_defaults_are_those_of_the_contract() -> None:
    """Contract §8 and DESIGN §5."""
    limits = Settings()
    assert (limits.max_queue, limits.max_queue_bytes, limits.task_attempts) == (
        10_000, 256 * 1024**2, 3,
    )  # fmt: skip
    assert (limits.no_worker_wait_s, limits.resume_window_s, limits.stall_window_s) == (10, 2, 30)
    assert (limits.deaths_before_quarantine, limits.retry_cap_s) == (3, 60)
