"""A function's parameters as the typed input of its runs: a struct to validate with, and its JSON Schema.

The struct is built once, when the task is declared; an execution only decodes.
"""

from __future__ import annotations

import copy
import inspect
import types
from collections.abc import Callable
from typing import Any, Final, get_type_hints

import msgspec
from msgspec import Raw

from headway.worker.interrupts import Fail

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class Signature:
    """The input and the output of one task."""

    __slots__ = ("_decoder", "_extras", "_struct", "input_schema", "output_schema", "takes_context")

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        """Read `function`; raise TypeError for a parameter that JSON cannot fill."""
        parameters = list(inspect.signature(function).parameters.values())
        self.takes_context = bool(parameters) and _is_context(parameters[0])
        if self.takes_context:
            parameters.pop(0)
        hints = _resolve(function, name, without=_context_name(function) if self.takes_context else None)
        extras: list[Any] = []
        fields: list[Any] = []
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise TypeError(f"task {name}: {parameter} cannot be filled from JSON; inputs are passed by name")
            hint = hints.get(parameter.name, Any)
            if parameter.kind is parameter.VAR_KEYWORD:
                extras.append(hint)
            else:
                fields.append(_field(parameter, hint))
        self._struct = _struct(name, fields, strict=not extras)
        self._decoder = msgspec.json.Decoder(self._struct)
        self._extras = msgspec.json.Decoder(dict[str, Any]), extras[0] if extras else None
        self.input_schema = _schema(self._struct, f"task {name}: an input parameter")
        self.output_schema = _schema_of_output(hints.get("return", inspect.Parameter.empty))

    def bind(self, given: Raw) -> dict[str, Any]:
        """Return keyword arguments; raise Fail with code `invalid_input`, since another attempt would not help."""
        try:
            arguments: dict[str, Any] = msgspec.structs.asdict(self._decoder.decode(given))
            if self._extras[1] is not None:
                rest = {key: value for key, value in self._extras[0].decode(given).items() if key not in arguments}
                arguments.update({key: msgspec.convert(value, self._extras[1]) for key, value in rest.items()})
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Fail(f"The input does not fit the task: {error}", code="invalid_input") from None
        return arguments


def _is_context(first: inspect.Parameter) -> bool:
    hint = first.annotation
    named = hint if isinstance(hint, str) else getattr(hint, "__name__", "")
    return first.name == "ctx" or named.rpartition(".")[2] in {"Context", "SyncContext"}


def _context_name(function: Callable[..., Any]) -> str:
    return next(iter(inspect.signature(function).parameters))


def _resolve(function: Callable[..., Any], name: str, *, without: str | None) -> dict[str, Any]:
    # The context's annotation is left out: it is often imported for type checkers only.
    annotations = {key: hint for key, hint in inspect.get_annotations(function).items() if key != without}
    target = inspect.unwrap(function)
    code, cells = getattr(target, "__code__", None), getattr(target, "__closure__", None) or ()
    closure = {key: cell.cell_contents for key, cell in zip(code.co_freevars, cells, strict=True)} if code else {}
    try:
        holder = types.SimpleNamespace(__annotations__=annotations)
        return get_type_hints(holder, getattr(target, "__globals__", {}), closure, include_extras=True)
    except Exception as error:  # noqa: BLE001 - annotations are code
        raise TypeError(f"task {name}: an annotation cannot be resolved: {error}") from None


def _field(parameter: inspect.Parameter, hint: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    default = parameter.default
    if default is parameter.empty:
        return parameter.name, hint
    if default is None or isinstance(default, bool | int | float | str):
        return parameter.name, hint, default
    return parameter.name, hint, msgspec.field(default_factory=lambda: copy.deepcopy(default))


def _struct(name: str, fields: list[Any], *, strict: bool) -> type[msgspec.Struct]:
    try:
        return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=strict)
    except (TypeError, ValueError) as error:
        raise TypeError(f"task {name}: {error}") from None


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


def _schema_of_output(hint: Any) -> bytes | None:
    if hint is inspect.Parameter.empty:
        return None
    try:
        return _schema(hint, "the output")
    except TypeError:
        return None  # An output is checked by encoding it; its schema is only a courtesy.
