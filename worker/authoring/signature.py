"""Reads a function's signature: type hints and pydantic `Field` → parameter check and schema.

    def resize(url: HttpUrl, width: Annotated[int, Field(ge=1)] = 800, *, ctx: Context) -> dict: ...

Each parameter but the context becomes a key of a typed dictionary, which pydantic compiles once. A
typed dictionary and not a model, because its keys may have any name (`json`, `schema`, `copy`), and
because it gives back the plain dictionary that the function is called with. `**kwargs` allows any
further parameter. Whatever cannot work is refused here, at import, in a sentence that names it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import FunctionType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError
from typing_extensions import TypedDict

from shared.errors import ConfigError
from worker.authoring.context import Context
from worker.authoring.parameter_schema import JsonObject, andera_params, json_schema
from worker.authoring.params import ParamChecker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ANYTHING: tuple[object, ...] = (Any, object)
_EMPTY = inspect.Parameter.empty
_CONFIG = ConfigDict(
    extra="forbid",
    strict=True,
    allow_inf_nan=False,
    val_json_bytes="base64",
    ser_json_bytes="base64",
)


class DeclarationError(ConfigError):
    """A function, service or tags declaration cannot work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a function takes.

    Attributes:
        checker: checks an input against the parameters.
        input_schema: JSON Schema of the input.
        params: the same as Andera's parameter map.
        context_param: name of the parameter that takes the `Context`; None when there is none.
    """

    checker: ParamChecker
    input_schema: JsonObject
    params: JsonObject
    context_param: str | None


def read_signature(handler: Callable[..., object], place: str) -> Signature:
    """Read what a function takes.

    Args:
        handler: the plain function.
        place: names it in errors, such as `function 'hello' (functions/hello.py:7)`.

    Raises:
        DeclarationError: the signature cannot be that of a task function.
    """
    parameters = inspect.signature(handler).parameters
    hints = _hints(handler, place)
    context_param: str | None = None
    fields: dict[str, object] = {}
    for name, parameter in parameters.items():
        if name in hints and _is_context(hints[name]):
            _check_context(name, parameter, context_param, place)
            context_param = name
        elif parameter.kind is not parameter.VAR_KEYWORD:
            fields[name] = _field(parameter, hints, place)
        elif hints.get(name, object) not in _ANYTHING:
            raise DeclarationError(
                f"{place}: annotate **{name} with object; it takes any parameter"
            )
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    adapter = _compile(handler.__name__, fields, takes_any, place)
    schema = _schema(adapter, place)
    return Signature(
        checker=ParamChecker(adapter.validator.validate_json, context_param if takes_any else None),
        input_schema=schema,
        params=andera_params(schema),
        context_param=context_param,
    )


def _hints(handler: Callable[..., object], place: str) -> dict[str, object]:
    """Return the evaluated hints of the parameters.

    The hint of the return value is not evaluated: it needs no run-time meaning, and linters move
    its imports under TYPE_CHECKING.
    """
    plain = cast("FunctionType", inspect.unwrap(handler))
    probe = FunctionType(plain.__code__, plain.__globals__, closure=plain.__closure__)
    probe.__annotations__ = {n: h for n, h in plain.__annotations__.items() if n != "return"}
    try:
        return cast("dict[str, object]", get_type_hints(probe, include_extras=True))
    except NameError as error:
        raise DeclarationError(
            f"{place}: the type hint name '{error.name}' is not known at run time; import it at the "
            "top of the file, outside `if TYPE_CHECKING:`"
        ) from error
    except (SyntaxError, TypeError) as error:
        raise DeclarationError(f"{place}: a type hint cannot be evaluated: {error}") from error


def _is_context(hint: object) -> bool:
    if get_origin(hint) in (Annotated, Union, UnionType):
        return any(_is_context(part) for part in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, Context)


def _check_context(name: str, parameter: inspect.Parameter, other: str | None, place: str) -> None:
    if other is not None:
        raise DeclarationError(f"{place}: both '{other}' and '{name}' take the Context; keep one")
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise DeclarationError(
            f"{place}: parameter '{name}' must be callable by name to take the Context"
        )


def _field(parameter: inspect.Parameter, hints: Mapping[str, object], place: str) -> object:
    """Return the hint of one parameter with its default inside."""
    name = parameter.name
    if parameter.kind is parameter.VAR_POSITIONAL:
        raise DeclarationError(f"{place}: *{name} cannot be filled from a JSON object; take a list")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise DeclarationError(
            f"{place}: parameter '{name}' is positional-only; inputs come by name"
        )
    if name not in hints:
        raise DeclarationError(
            f"{place}: parameter '{name}' needs a type hint (`object` allows any)"
        )
    hint, default = hints[name], cast("object", parameter.default)
    if isinstance(default, FieldInfo):
        return Annotated[hint, default]
    if default is _EMPTY:
        return hint
    return Annotated[hint, Field(default=default)]


def _compile(
    name: str, fields: dict[str, object], takes_any: bool, place: str
) -> TypeAdapter[JsonObject]:
    # The functional form with fields that are known only now; type checkers want a literal.
    typed_dict = cast("Callable[[str, dict[str, object]], type[JsonObject]]", TypedDict)
    shape = typed_dict(name, fields)
    config = {**_CONFIG, "extra": "allow" if takes_any else "forbid"}
    shape.__pydantic_config__ = config  # pyright: ignore[reportAttributeAccessIssue]  # pydantic's seam
    for param, hint in fields.items():
        _check_param(param, hint, place)
    return TypeAdapter(shape)


def _check_param(param: str, hint: object, place: str) -> None:
    """Refuse a parameter that has no JSON form or whose default is not of its type."""
    try:
        adapter = TypeAdapter(cast("type[object]", hint))
        default = adapter.get_default_value()
        if default is not None:
            adapter.validate_python(default.value)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise DeclarationError(
            f"{place}: the default of parameter '{param}' does not fit its type: {reason}"
        ) from error
    except (PydanticSchemaGenerationError, PydanticUserError, SchemaError, TypeError) as error:
        raise DeclarationError(
            f"{place}: parameter '{param}' is of a type that has no JSON form: {_first_sentence(error)}"
        ) from error


def _schema(adapter: TypeAdapter[JsonObject], place: str) -> JsonObject:
    try:
        return json_schema(adapter)
    except PydanticUserError as error:
        raise DeclarationError(
            f"{place}: a parameter or its default has no JSON form: {_first_sentence(error)}"
        ) from error


def _first_sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0]
