"""Services and tags as values: what is checked wherever they were declared."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from worker.authoring.background import Service, check_service, declare_tags
from worker.authoring.signature import DeclarationError
from worker.authoring.task_function import Origin


async def coroutine() -> dict[str, object]:
    return {"a": 1}


def plain() -> None: ...


def test_anything_with_the_three_methods_is_a_service() -> None:
    """A class, a module or any other object."""
    whole = SimpleNamespace(start=coroutine, stop=coroutine, status=coroutine)
    check_service(whole, "whole", "here")
    assert isinstance(whole, Service)


@pytest.mark.parametrize("method", ["start", "stop", "status"])
@pytest.mark.parametrize("wrong", [None, plain, 3])
def test_each_method_must_be_a_coroutine_function(method: str, wrong: object) -> None:
    """A blocking start would stop the worker's loop."""
    methods = {"start": coroutine, "stop": coroutine, "status": coroutine, method: wrong}
    with pytest.raises(DeclarationError, match=f"^here: it needs `async def {method}`"):
        check_service(SimpleNamespace(**methods), "whole", "here")


@pytest.mark.parametrize("name", ["", "two words", "1st", "x" * 65])
def test_a_service_has_a_plain_name(name: str) -> None:
    """It stands in /health and in logs."""
    whole = SimpleNamespace(start=coroutine, stop=coroutine, status=coroutine)
    with pytest.raises(DeclarationError, match=r"^here: a name has at most 64"):
        check_service(whole, name, "here")


async def test_a_source_of_tags_is_called_like_its_function() -> None:
    """Its interval is a float, whatever the author wrote."""
    source = declare_tags(coroutine, name="facts", interval_s=1, origin=Origin("f.py", 3))
    assert await source() == {"a": 1}
    assert (source.interval_s, type(source.interval_s)) == (1.0, float)


def test_the_error_of_a_source_says_where_it_is() -> None:
    """File and line of the declaration."""
    with pytest.raises(
        DeclarationError, match=r"tags 'facts' \(f\.py:3\): interval_s=0\.01 is not"
    ):
        declare_tags(coroutine, name="facts", interval_s=0.01, origin=Origin("f.py", 3))
