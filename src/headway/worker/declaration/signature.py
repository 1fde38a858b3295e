"""A function's parameters as the typed input of its runs: a struct to validate with, and its JSON Schema.

The struct is built once, when the task is declared; an execution only decodes.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    Final,
    NotRequired,
    Required,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec
from msgspec import UNSET, Raw, UnsetType

from headway.codec import Unresolved, pydantic
from headway.codec.hints import convert, hook, understood, wants_pydantic
from headway.codec.pointers import faults, summary
from headway.codec.schemas import schema
from headway.worker.context.interrupts import Fail
from headway.worker.declaration.function import Function

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_QUALIFIERS: Final = (Required, NotRequired)


class Signature:
    """The input and the output of one task."""

    __slots__ = ("_decoder", "_extras", "_optional", "_renamed", "dump", "input_schema", "output_schema")

    def __init__(self, function: Function, *, early: bool = False) -> None:
        """Raise TypeError for a parameter that JSON cannot fill, Unresolved for a type that does not exist yet.

        `early`: what is returned may still get a type; later one that is for type checkers only is passed over.
        """
        hints = function.hints()
        extras: list[Any] = []
        fields: dict[str, Any] = {}
        aliases: dict[str, str | None] = {}
        for parameter in function.parameters:
            hint = hints.get(parameter.name, Any)
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise TypeError(f"{function.what}: {_unfilled(function, parameter)}")
            if parameter.kind is not parameter.VAR_KEYWORD:
                fields[parameter.name], alias = _field(function, parameter, hint)
                aliases[parameter.name] = alias
            elif get_origin(hint) is Unpack:
                fields |= _unpacked(function, get_args(hint)[0])
            else:
                extras.append(hint)
        self._renamed = _renamed(fields)
        struct, self._decoder = _struct(function, fields, self._renamed, aliases, strict=not extras)
        self._optional = any(field[1:] == (UNSET,) for field in fields.values())
        self._extras = msgspec.json.Decoder(dict[str, Any]), _read_as(function, "**", extras[0]) if extras else None
        self.input_schema = _schema(struct, f"{function.what}: an input parameter")
        returned = _returned(function, early=early)
        self.output_schema = _schema_of_output(returned, early=early)
        self.dump = _dump_of(returned)
        """Pydantic's conversion of the returned value, if its declared type is Pydantic's."""

    def bind(self, given: Raw) -> dict[str, Any]:
        """Return keyword arguments; raise Fail with code `invalid_input`, since another attempt would not help."""
        try:
            arguments: dict[str, Any] = msgspec.structs.asdict(self._decoder.decode(given))
            if self._renamed or self._optional:
                names = self._renamed
                arguments = {names.get(key, key): value for key, value in arguments.items() if value is not UNSET}
            if self._extras[1] is not None:
                rest = {key: value for key, value in self._extras[0].decode(given).items() if key not in arguments}
                arguments.update({key: convert(value, self._extras[1]) for key, value in rest.items()})
        except msgspec.ValidationError as error:
            raise Fail(f"The input does not fit the task: {summary(faults(error))}", code="invalid_input") from None
        except (msgspec.MsgspecError, RecursionError, TypeError) as error:  # of lists in a set, from older msgspec
            raise Fail(f"The input does not fit the task: {error}", code="invalid_input") from None
        return arguments


def _unfilled(function: Function, parameter: inspect.Parameter) -> str:
    kinds = {each.kind for each in function.parameters}
    wrapped = (
        " (a decorator's function needs functools.wraps)"
        if kinds >= {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        else ""
    )
    return f"{parameter} cannot be filled from JSON; inputs are passed by name{wrapped}"


def _field(function: Function, parameter: inspect.Parameter, hint: Any) -> tuple[tuple[Any, ...], str | None]:
    """Return the type with the default, if there is one, and the name in JSON, if that is another."""
    default, alias = parameter.default, None
    if pydantic.is_field(default):
        hint, default = Annotated[hint, default], parameter.empty
    for said in filter(pydantic.is_field, get_args(hint)[1:] if get_origin(hint) is Annotated else ()):
        field = pydantic.field_of(said, f"{function.what}: {parameter.name}")
        if field.alias is not None:
            alias = field.alias
            kept = [
                part
                for each in get_args(hint)[1:]
                for part in (pydantic.without_alias(said) if each is said else (each,))
            ]
            hint = Annotated[(get_args(hint)[0], *kept)]
        if not field.required and default is parameter.empty:
            if field.factory is not None:
                return (_read_as(function, parameter.name, hint), msgspec.field(default_factory=field.factory)), alias
            default = field.default
    kind = _read_as(function, parameter.name, hint)
    if default is parameter.empty:
        return (kind,), alias
    if default is None or isinstance(default, bool | int | float | str):
        return (kind, default), alias
    if isinstance(default, dataclasses.Field | type(msgspec.field())):
        raise TypeError(f"{function.what}: {parameter.name}: a field() is for classes; write the default itself")
    return (kind, msgspec.field(default_factory=lambda: copy.deepcopy(default))), alias


def _renamed(fields: dict[str, Any]) -> dict[str, str]:
    """Return other names for parameters that a struct's field cannot have the name of, such as __x."""
    found: dict[str, str] = {}
    for name in fields:
        if name.startswith("__"):
            own = "p"
            while own in fields or own in found:
                own += "_"
            found[own] = name
    return found


def _read_as(function: Function, name: str, hint: Any) -> Any:
    try:
        return understood(hint)
    except TypeError as error:
        kind = Unresolved if isinstance(error, Unresolved) else TypeError
        raise kind(f"{function.what}: {name}: {error}") from None


def _unpacked(function: Function, kind: Any) -> dict[str, Any]:
    """Return the fields of a TypedDict; optional ones have the default UNSET."""
    if not is_typeddict(get_origin(kind) or kind):
        raise TypeError(f"{function.what}: Unpack takes a TypedDict, not {kind!r}")
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        required, inner = name in kind.__required_keys__, hint
        while (origin := get_origin(inner)) in _QUALIFIERS:  # with text annotations only these say it
            required = {Required: True, NotRequired: False}.get(origin, required)
            (inner,) = get_args(inner)
        read = _read_as(function, name, inner)
        fields[name] = (read,) if required else (read | UnsetType, UNSET)
    return fields


def _struct(
    function: Function,
    fields: dict[str, Any],
    renamed: dict[str, str],
    aliases: dict[str, str | None],
    *,
    strict: bool,
) -> tuple[type[msgspec.Struct], msgspec.json.Decoder[msgspec.Struct]]:
    inside = {name: own for own, name in renamed.items()}
    members = [(inside.get(name, name), *field) for name, field in fields.items()]
    said = renamed | {inside.get(name, name): alias for name, alias in aliases.items() if alias is not None}
    try:
        struct = msgspec.defstruct(function.name, members, kw_only=True, forbid_unknown_fields=strict, rename=said)
        return struct, msgspec.json.Decoder(struct, dec_hook=hook)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{function.what}: {error}") from None


def _schema(kind: Any, what: str, mode: pydantic.Mode = "validation") -> bytes:
    try:
        return msgspec.json.encode({"$schema": _DIALECT, **schema(kind, mode)})
    except Unresolved as error:
        raise Unresolved(f"{what}: {error}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{what} has a type that JSON Schema cannot say: {str(error).splitlines()[-1]}") from None


def _returned(function: Function, *, early: bool) -> Any:
    """Return the return type; Parameter.empty for a type that cannot be read. With `early`, raise Unresolved for unknown names."""
    try:
        return function.return_hint()
    except TypeError as error:
        if early and isinstance(error, Unresolved):
            raise
        return inspect.Parameter.empty


def _schema_of_output(hint: Any, *, early: bool) -> bytes | None:
    try:
        return None if hint is inspect.Parameter.empty else _schema(understood(hint), "the output", "serialization")
    except TypeError as error:
        if early and isinstance(error, Unresolved):
            raise
        return None  # An output is checked by encoding it; its schema is only a courtesy.


def _dump_of(hint: Any) -> Callable[[object], object] | None:
    if hint is inspect.Parameter.empty or not wants_pydantic(hint):
        return None
    try:
        pydantic.adapter(hint)
    except TypeError:
        return None  # of a struct, for example: each model in it is written as its own class says
    return functools.partial(pydantic.dumped_as, hint)
