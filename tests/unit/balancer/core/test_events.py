"""What the fleet tells the scheduler."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from balancer.core.events import LINK, Held
from shared.ids import TaskId, Token
from tests.fakes.scheduler_rig import Rig


def test_facts_cannot_change_under_the_scheduler() -> None:
    """A worker that changes is told anew."""
    facts = Rig().facts()
    assert facts.kind == LINK
    with pytest.raises(FrozenInstanceError):
        facts.weight = 2.0  # pyright: ignore[reportAttributeAccessIssue] # that is the test


def test_a_held_attempt_is_a_plain_triple() -> None:
    """Token, task, and whether it has ended."""
    assert Held(Token("t"), TaskId("x"), False) == ("t", "x", False)
