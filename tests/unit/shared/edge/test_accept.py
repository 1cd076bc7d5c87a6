"""Content negotiation: what an `Accept` header asks for by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.edge.accept import preferred
from shared.edge.stream_format import StreamFormat, choose

OFFERS = ("a/a", "b/b")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "d/d"),
        ("", "d/d"),
        ("*/*", "d/d"),
        ("text/html, */*;q=0.1", "d/d"),
        ("a/a", "a/a"),
        ("A/A", "a/a"),
        (" b/b ; charset=utf-8", "b/b"),
        ("a/a;q=0.5, b/b", "b/b"),
        ("a/a, b/b", "a/a"),
        ("b/b, a/a", "b/b"),
        ("a/a;q=0", "d/d"),
        ("a/a;q=x, b/b;q=0.1", "b/b"),
        ("a/a;q=2, b/b;q=0.1", "b/b"),
        ("a/a;q=nan, b/b;q=0.1", "b/b"),
        ("a/a ; q=0.2 ; v=1, b/b;q=0.3", "b/b"),
        (",,;q=1,", "d/d"),
        ("a/*", "d/d"),
    ],
)
def test_the_best_named_offer_wins(accept: str | None, expected: str) -> None:
    """Quality decides, then the client's order; wildcards ask for nothing by name."""
    assert preferred(accept, OFFERS, "d/d") == expected


@given(st.text(max_size=60))
def test_any_header_gets_an_answer(accept: str) -> None:
    """Nonsense gets the default."""
    assert preferred(accept, OFFERS, "d/d") in (*OFFERS, "d/d")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, StreamFormat.TEXT),
        ("*/*", StreamFormat.TEXT),
        ("text/plain", StreamFormat.TEXT),
        ("application/json", StreamFormat.TEXT),
        ("text/event-stream", StreamFormat.SSE),
        ("application/x-ndjson", StreamFormat.NDJSON),
        ("application/json, text/event-stream", StreamFormat.SSE),
        ("text/plain;q=0.5, application/x-ndjson", StreamFormat.NDJSON),
    ],
)
def test_a_stream_is_plain_text_unless_another_form_is_named(
    accept: str | None, form: StreamFormat
) -> None:
    """Andera's clients get Andera's form."""
    assert choose(accept) is form
