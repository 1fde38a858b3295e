"""A function's parameters as the typed input of its runs: a struct to validate with, and its JSON Schema.

The struct is built once, when the task is declared; an execution only decodes.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from typing import (
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

from headway.worker.function import Function, Unresolved
from headway.worker.interrupts import Fail

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_QUALIFIERS: Final = (Required, NotRequired)


class Signature:
    """The input and the output of one task."""

    __slots__ = ("_decoder", "_extras", "_optional", "_renamed", "input_schema", "output_schema")

    def __init__(self, function: Function, *, early: bool = False) -> None:
        """Raise TypeError for a parameter that JSON cannot fill, Unresolved for a type that does not exist yet.

        `early`: what is returned may still get a type; later one that is for type checkers only is passed over.
        """
        hints = function.hints()
        extras: list[Any] = []
        fields: dict[str, Any] = {}
        for parameter in function.parameters:
            hint = hints.get(parameter.name, Any)
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise TypeError(f"{function.what}: {_unfilled(function, parameter)}")
            if parameter.kind is not parameter.VAR_KEYWORD:
                fields[parameter.name] = _field(function, parameter, hint)
            elif get_origin(hint) is Unpack:
                fields |= _unpacked(function, get_args(hint)[0])
            else:
                extras.append(hint)
        self._renamed = _renamed(fields)
        struct = _struct(function, fields, self._renamed, strict=not extras)
        self._optional = any(field[1:] == (UNSET,) for field in fields.values())
        self._decoder = msgspec.json.Decoder(struct)
        self._extras = msgspec.json.Decoder(dict[str, Any]), extras[0] if extras else None
        self.input_schema = _schema(struct, f"{function.what}: an input parameter")
        self.output_schema = _schema_of_output(function, early=early)

    def bind(self, given: Raw) -> dict[str, Any]:
        """Return keyword arguments; raise Fail with code `invalid_input`, since another attempt would not help."""
        try:
            arguments: dict[str, Any] = msgspec.structs.asdict(self._decoder.decode(given))
            if self._renamed or self._optional:
                names = self._renamed
                arguments = {names.get(key, key): value for key, value in arguments.items() if value is not UNSET}
            if self._extras[1] is not None:
                rest = {key: value for key, value in self._extras[0].decode(given).items() if key not in arguments}
                arguments.update({key: msgspec.convert(value, self._extras[1]) for key, value in rest.items()})
        except (msgspec.MsgspecError, RecursionError) as error:
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


def _field(function: Function, parameter: inspect.Parameter, hint: Any) -> tuple[Any, ...]:
    """Return the type and, if there is one, the default."""
    default = parameter.default
    if default is parameter.empty:
        return (hint,)
    if default is None or isinstance(default, bool | int | float | str):
        return hint, default
    if isinstance(default, dataclasses.Field | type(msgspec.field())):
        raise TypeError(f"{function.what}: {parameter.name}: a field() is for classes; write the default itself")
    return hint, msgspec.field(default_factory=lambda: copy.deepcopy(default))


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


def _unpacked(function: Function, kind: Any) -> dict[str, Any]:
    """Return the fields of `**kwargs: Unpack[kind]`; those that may be missing have the default UNSET."""
    if not is_typeddict(get_origin(kind) or kind):
        raise TypeError(f"{function.what}: Unpack takes a TypedDict, not {kind!r}")
    fields = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        required = name in kind.__required_keys__
        inner = hint
        while (origin := get_origin(inner)) in _QUALIFIERS:  # with text annotations only these say it
            required = {Required: True, NotRequired: False}.get(origin, required)
            inner = get_args(inner)[0]
        fields[name] = (inner,) if required else (inner | UnsetType, UNSET)
    return fields


def _struct(
    function: Function, fields: dict[str, Any], renamed: dict[str, str], *, strict: bool
) -> type[msgspec.Struct]:
    inside = {name: own for own, name in renamed.items()}
    members = [(inside.get(name, name), *field) for name, field in fields.items()]
    try:
        return msgspec.defstruct(function.name, members, kw_only=True, forbid_unknown_fields=strict, rename=renamed)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{function.what}: {error}") from None


def _schema(kind: Any, what: str) -> bytes:
    try:
        _, components = msgspec.json.schema_components([kind])
        schema = msgspec.json.schema(kind)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{what} has a type that JSON Schema cannot say: {str(error).splitlines()[-1]}") from None
    definitions = schema.pop("$defs", {})
    own = schema.get("$ref", "").removeprefix("#/$defs/")
    text = msgspec.json.encode(components).decode()
    if own in definitions and f'"#/$defs/{own}"' not in text:
        schema = definitions.pop(own)  # the root stands at the root, unless it contains itself
    return msgspec.json.encode({"$schema": _DIALECT, **schema, **({"$defs": definitions} if definitions else {})})


def _schema_of_output(function: Function, *, early: bool) -> bytes | None:
    try:
        hint = function.return_hint()
        return None if hint is inspect.Parameter.empty else _schema(hint, "the output")
    except TypeError as error:
        if early and isinstance(error, Unresolved):
            raise
        return None  # An output is checked by encoding it; its schema is only a courtesy.
