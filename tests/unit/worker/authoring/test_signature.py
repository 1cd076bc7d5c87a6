"""What a signature says, and which signatures are refused at import."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, cast

import pytest
from pydantic import Field

from shared.errors import InvalidParams
from worker.authoring.context import Context
from worker.authoring.signature import DeclarationError, read_signature

if TYPE_CHECKING:
    from collections.abc import Iterator


class Plain:
    """A class that pydantic knows nothing about."""


def returns_unknown(a: int) -> Iterator[int]: ...


def _declared(source: str) -> Callable[..., object]:
    """Return the function `f` of a source text; type checkers would refuse most of these in a file."""
    namespace: dict[str, object] = dict(globals())
    exec(f"from __future__ import annotations\n{source}: ...", namespace)
    return cast("Callable[..., object]", namespace["f"])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def f(a: Nowhere)", "name 'Nowhere' is not known at run time; import it at the top"),
        ("def f(*names: str)", r"\*names cannot be filled from a JSON object; take a list"),
        ("def f(a: int, /)", "parameter 'a' is positional-only; inputs come by name"),
        ("def f(a)", "parameter 'a' needs a type hint"),
        ("def f(a: Plain)", "parameter 'a' is of a type that has no JSON form: Unable to generate"),
        ("def f(a: Callable[[], int])", "has no JSON form: Cannot generate a JsonSchema"),
        ("def f(a: int = 'x')", "the default of parameter 'a' does not fit its type"),
        ("def f(a: int = None)", "the default of parameter 'a' does not fit its type"),
        ("def f(a: object = Plain())", "a parameter or its default has no JSON form: Default"),
        ("def f(a: Annotated[str, Field(min_length=3)] = 'x')", "the default of parameter 'a'"),
        ("def f(a: Annotated[str, Field(pattern='(')])", "parameter 'a' is of a type that has no"),
        (
            "def f(a: Annotated[list[int], Field(ge=3)] = [])",
            "parameter 'a' is of a type that has no",
        ),
        ("def f(**more: int)", r"annotate \*\*more with object"),
        ("def f(a: Context, b: Context)", "both 'a' and 'b' take the Context; keep one"),
        ("def f(*more: Context)", "parameter 'more' must be callable by name to take the Context"),
        ("def f(a: 'int +')", "a type hint cannot be evaluated"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(source: str, text: str) -> None:
    """The error names the place and what to do, and stops the start (`config_error`)."""
    with pytest.raises(DeclarationError, match=f"^here: .*{text}") as caught:
        read_signature(_declared(source), "here")
    assert caught.value.code == "config_error"


def test_the_hint_of_the_result_needs_no_import() -> None:
    """Linters move its imports under TYPE_CHECKING, so it is not evaluated."""
    assert read_signature(returns_unknown, "here").params == {
        "a": {"type": "number", "required": True}
    }


def keyword(a: int, *, ctx: Context) -> None: ...
def first(context: Context, a: int) -> None: ...
def optional(a: int, ctx: Context | None = None) -> None: ...
def annotated(a: int, ctx: Annotated[Context, "mine"]) -> None: ...
def without(a: int) -> None: ...


@pytest.mark.parametrize(
    ("handler", "param"),
    [
        (keyword, "ctx"),
        (first, "context"),
        (optional, "ctx"),
        (annotated, "ctx"),
        (without, None),
    ],
)
def test_the_context_is_found_by_its_type(
    handler: Callable[..., object], param: str | None
) -> None:
    """Whatever its name and place; it is no parameter of the input."""
    signature = read_signature(handler, "here")
    assert signature.context_param == param
    assert list(signature.params) == ["a"]
    with pytest.raises(InvalidParams, match="Unexpected param: ctx"):
        signature.checker.check(b'{"a": 1, "ctx": 1}')


def test_a_default_may_stand_in_a_field() -> None:
    """`x: int = Field(5, ge=1)` and `x: Annotated[int, Field(ge=1)] = 5` are one declaration."""

    one = _declared("def f(x: int = Field(5, ge=1), y: list[int] = Field(default_factory=list))")

    def other(x: Annotated[int, Field(ge=1)] = 5) -> None: ...

    found, expected = read_signature(one, "here"), read_signature(other, "here")
    assert found.params["x"] == expected.params["x"] == {"type": "number", "default": 5, "min": 1}
    assert found.checker.check(b"{}") == {"x": 5, "y": []}


def test_a_parameter_may_have_any_name() -> None:
    """Names that a model could not have are no trouble."""

    def odd(
        json: int, schema: int, copy: int, model_config: int, _private: int, self: int
    ) -> None: ...

    values = dict.fromkeys(["json", "schema", "copy", "model_config", "_private", "self"], 1)
    assert read_signature(odd, "here").checker.check(values) == values


def test_further_parameters_come_as_they_are() -> None:
    """`**more` takes any JSON value, annotated or not."""

    for source in ("def f(a: int = 1, **more: object)", "def f(a: int = 1, **more)"):
        checker = read_signature(_declared(source), "here").checker
        assert checker.check(b'{"b": [1.0], "c": null}') == {"a": 1, "b": [1.0], "c": None}


def test_a_wrapped_function_shows_the_inner_parameters() -> None:
    """A decorator of the author's own that uses functools.wraps changes nothing."""

    def log_calls(handler: Callable[..., object]) -> Callable[..., object]:
        @wraps(handler)
        def inner(*args: object, **kwargs: object) -> object:
            return handler(*args, **kwargs)

        return inner

    signature = read_signature(log_calls(keyword), "here")
    assert (list(signature.params), signature.context_param) == (["a"], "ctx")
