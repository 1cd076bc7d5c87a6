"""Parts: a task and its webhook are found by their ids alone, and pools are spread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.store.redis.parts import (
    LAST_PART,
    PARTS,
    Keys,
    by_part,
    part_of,
    part_of_pool,
    shared_task_id,
)


@given(group=st.text(max_size=20), contract=st.integers(0, 2**31))
def test_the_id_of_a_shared_task_says_where_it_is(group: str, contract: int) -> None:
    """So does the id of its webhook, and no pool has the last part."""
    task_id = shared_task_id("0a1b-2c", (group, contract))
    assert part_of(task_id) == part_of(f"msg_{task_id}") == part_of_pool((group, contract))
    assert part_of(task_id) < LAST_PART < PARTS


@pytest.mark.parametrize("plain", ["t1", "0a1b-2c", "a.b", "a.3f4", "a.3F", "3f", ""])
def test_an_id_without_an_ending_is_in_the_last_part(plain: str) -> None:
    """What was accepted before a store was shared stays where it is."""
    assert part_of(plain) == LAST_PART


def test_pools_are_spread() -> None:
    """A hundred pools use many parts."""
    assert len({part_of_pool((f"group-{n}", 1)) for n in range(100)}) > 60


def test_keys_of_a_part_have_one_hash_tag() -> None:
    """Everything between the first braces is what Redis Cluster hashes."""
    assert Keys("prod").part(63) == "{prod:3f}"
    assert Keys("prod").meta("lease") == "{prod:meta}:lease"


def test_ids_are_sorted_into_their_parts_in_order() -> None:
    """Order is kept within a part."""
    assert by_part(["b.01", "x", "a.01", "y"]) == {1: ["b.01", "a.01"], LAST_PART: ["x", "y"]}
