"""Count primes: CPU-bound work in a process of its own, killed for good when it takes too long."""

from __future__ import annotations

from math import isqrt
from typing import Annotated

from pydantic import Field

from cabrank import function


@function(isolation="process", timeout_s=30, idempotent=True)
def primes(below: Annotated[int, Field(ge=2, le=50_000_000)] = 100_000) -> dict[str, int | None]:
    """Count the primes below a number, and find the largest, by the sieve of Eratosthenes."""
    sieve = bytearray([1]) * below
    sieve[0:2] = bytes(2)
    for number in range(2, isqrt(below - 1) + 1):
        if sieve[number]:
            start = number * number
            sieve[start::number] = bytes(len(range(start, below, number)))
    largest = sieve.rfind(1)
    return {"below": below, "count": sum(sieve), "largest": None if largest < 0 else largest}
