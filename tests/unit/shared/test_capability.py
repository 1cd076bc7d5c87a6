"""Functions as workers announce them, and whether two workers agree."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.capability import FunctionSpec, differences

NAME: dict[str, object] = {"type": "string", "default": "World"}
MS: dict[str, object] = {"type": "number", "required": True}

SPECS = st.builds(
    FunctionSpec,
    name=st.text(min_size=1, max_size=8),
    kind=st.sampled_from(["function", "connector"]),
    description=st.text(max_size=20),
    params=st.dictionaries(
        st.text(max_size=5),
        st.dictionaries(st.sampled_from(["type", "min"]), st.integers()),
        max_size=3,
    ),
    input_schema=st.none() | st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    timeout_s=st.none() | st.floats(0.001, 1e6),
    max_retries=st.integers(0, 100),
    retry_delay_s=st.floats(0.001, 1e6),
    streaming=st.booleans(),
    idempotent=st.booleans(),
)


@given(SPECS)
def test_what_a_worker_announces_is_read_back_whole(spec: FunctionSpec) -> None:
    """`wire` and `from_wire` are each other's inverse."""
    assert FunctionSpec.from_wire(spec.wire()) == spec


def test_a_function_of_andera_may_stream_or_not() -> None:
    """Andera's worker tells name and params only; it refuses by itself what it cannot stream."""
    read = FunctionSpec.from_wire({"name": "hello", "params": {"name": NAME}})
    assert read == FunctionSpec(name="hello", params={"name": NAME}, streaming=True)


@pytest.mark.parametrize(
    "item", [None, 5, "hello", [], {}, {"name": ""}, {"name": None}, {"name": 5}, {"params": {}}]
)
def test_an_item_without_a_usable_name_is_dropped(item: object) -> None:
    """A broken entry of one worker's list breaks nothing else."""
    assert FunctionSpec.from_wire(item) is None


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"name": "f", "later": {"x": 1}}, FunctionSpec(name="f", streaming=True)),
        ({"name": "f", "params": None, "description": 5}, FunctionSpec(name="f", streaming=True)),
        ({"name": "f", "config": {}}, FunctionSpec(name="f")),
        ({"name": "f", "config": {"timeout": "5", "retries": None}}, FunctionSpec(name="f")),
        (
            {"name": "f", "config": {"timeout": True, "retries": 2}},
            FunctionSpec(name="f", max_retries=2),
        ),
        ({"name": "f", "config": [], "inputSchema": []}, FunctionSpec(name="f", streaming=True)),
        ({"name": "f", "config": {"timeout": 5}}, FunctionSpec(name="f", timeout_s=5.0)),
        ({"name": "f", "config": {"retryDelay": 0.5}}, FunctionSpec(name="f", retry_delay_s=0.5)),
    ],
)
def test_fields_that_are_unknown_or_of_another_type_take_defaults(
    item: dict[str, object], expected: FunctionSpec
) -> None:
    """A later version's fields are ignored, and nonsense is not believed."""
    assert FunctionSpec.from_wire(item) == expected


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1, 10**400])
def test_numbers_that_are_no_durations_take_defaults(number: float) -> None:
    """JSON as Python reads it has NaN and Infinity; a task that retries after NaN would never."""
    config = {"timeout": number, "retries": number, "retryDelay": number}
    assert FunctionSpec.from_wire({"name": "f", "config": config}) == FunctionSpec(name="f")


HELLO = FunctionSpec(name="f", params={"name": NAME, "ms": MS})


@pytest.mark.parametrize(
    ("reference", "other", "expected"),
    [
        ([HELLO], [HELLO], {}),
        ([HELLO], [FunctionSpec(name="f", params={"ms": MS, "name": NAME})], {}),
        ([HELLO], [FunctionSpec(name="f", params=HELLO.params, description="x", timeout_s=9)], {}),
        ([HELLO], [], {"f": "function 'f' is missing"}),
        ([], [HELLO], {"f": "function 'f' is not hosted by the reference worker"}),
        ([HELLO], [FunctionSpec(name="f", params={"name": NAME})], {"f": "function 'f' lacks param ms"}),
        (
            [FunctionSpec(name="f", params={"name": NAME})], [HELLO],
            {"f": "function 'f' has the extra param ms"},
        ),
        (
            [HELLO], [FunctionSpec(name="f", params={"name": NAME, "ms": {"type": "string"}})],
            {"f": "function 'f' declares param ms otherwise"},
        ),
        (
            [FunctionSpec(name="f", input_schema={"a": 1})], [FunctionSpec(name="f", input_schema={"a": 2})],
            {"f": "function 'f' has another input schema"},
        ),
    ],
)  # fmt: skip
def test_a_difference_is_spelled_out(
    reference: list[FunctionSpec], other: list[FunctionSpec], expected: dict[str, str]
) -> None:
    """An operator reads what differs; order, texts and settings do not count as a difference."""
    assert differences({s.name: s for s in reference}, {s.name: s for s in other}) == expected


@given(st.lists(SPECS, max_size=5, unique_by=lambda spec: spec.name))
def test_a_worker_agrees_with_itself_in_any_order(specs: list[FunctionSpec]) -> None:
    """The comparison does not see the order in which functions are listed."""
    listed = {spec.name: spec for spec in specs}
    reversed_ = {spec.name: spec for spec in reversed(specs)}
    assert differences(listed, reversed_) == {}
