"""Ids: a boot prefix and a counter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.ids import IdSource, SequentialIds


def test_ids_are_the_boot_prefix_and_a_count_in_hexadecimal() -> None:
    """An id says which process made it."""
    ids = SequentialIds("b0")
    made = [ids.next_id() for _ in range(17)]
    assert made[:2] == ["b0-1", "b0-2"]
    assert made[15:] == ["b0-10", "b0-11"]
    assert ids.boot == "b0"


@given(st.integers(1, 300), st.integers(1, 300))
def test_no_id_is_made_twice(first: int, second: int) -> None:
    """Neither one process nor two of different boots repeat an id."""
    sources: list[IdSource] = [SequentialIds("a"), SequentialIds("b")]
    made = [sources[0].next_id() for _ in range(first)] + [
        sources[1].next_id() for _ in range(second)
    ]
    assert len(set(made)) == first + second
