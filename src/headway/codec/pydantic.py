"""Pydantic's types, if the user has them: validated, described and dumped by Pydantic itself, as in its JSON mode.

Headway never imports Pydantic first: where there is a type of Pydantic's, user code has imported it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Final, Literal, NamedTuple

import msgspec

from headway.codec import Unresolved
from headway.codec.pointers import ConversionError, escaped

Mode = Literal["validation", "serialization"]
MARK: Final = "__get_pydantic_core_schema__"
"""An attribute of every type and annotation that only Pydantic understands."""


def is_model(kind: Any) -> bool:
    """Return whether a type is a model, whose validated values are instances of it."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_type(kind: Any) -> bool:
    """Return whether a type is validated by Pydantic: a model, its dataclass, HttpUrl."""
    return isinstance(kind, type) and (hasattr(kind, MARK) or "__pydantic_core_schema__" in vars(kind))


def is_annotation(annotation: Any) -> bool:
    """Return whether this part of an Annotated is Pydantic's: `Field(gt=0)`, a validator."""
    return hasattr(annotation, MARK) or type(annotation).__module__.partition(".")[0] in {"pydantic", "pydantic_core"}


def is_field(default: Any) -> bool:
    """Return whether a parameter's default is `pydantic.Field(…)`."""
    return type(default).__module__ == "pydantic.fields" and type(default).__name__ == "FieldInfo"


class Field(NamedTuple):
    """Default and alias of a parameter's `pydantic.Field(…)`."""

    default: Any
    factory: Any
    required: bool
    alias: str | None


def field_of(annotation: Any, what: str) -> Field:
    """Return default and alias of a `pydantic.Field(…)`; raise TypeError for an alias that is not a name."""
    alias = annotation.validation_alias or annotation.alias
    if alias is not None and not isinstance(alias, str):
        raise TypeError(f"{what}: an input has one name; {alias!r} is none")
    factory = annotation.default_factory
    return Field(None if annotation.is_required() else annotation.default, factory, annotation.is_required(), alias)


def without_alias(annotation: Any) -> tuple[Any, ...]:
    """Return a field's metadata for an Annotated, without the alias, which has no effect outside of models."""
    import pydantic  # noqa: PLC0415 - as below

    kept = {name: value for name in ("title", "description", "discriminator") if (value := getattr(annotation, name))}
    return (*annotation.metadata, pydantic.Field(**kept))


def refuse_version_1(kind: Any) -> None:
    """Raise TypeError for a model of Pydantic 1."""
    if isinstance(kind, type) and not is_type(kind) and hasattr(kind, "__fields__") and hasattr(kind, "parse_obj"):
        raise TypeError(f"{kind.__name__} is a model of Pydantic 1; models of Pydantic 2 are understood")


@functools.lru_cache(maxsize=1000)
def _adapter(kind: Any) -> Any:
    import pydantic  # noqa: PLC0415 - there is a type of it, so that it is imported already

    return kind if isinstance(kind, pydantic.TypeAdapter) else pydantic.TypeAdapter(kind)


def adapter(kind: Any) -> Any:
    """Return the TypeAdapter of a type; raise TypeError for types that Pydantic does not take."""
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError  # noqa: PLC0415 - as above

    try:
        found = _adapter(kind)
        found.rebuild(raise_errors=True)
    except PydanticUndefinedAnnotation as error:
        raise Unresolved(f"{kind!r} is not fully defined: {error.message}") from None
    except PydanticUserError as error:
        kind_of_error = Unresolved if error.code == "class-not-fully-defined" else TypeError
        raise kind_of_error(f"Pydantic does not take {kind!r}: {error.message}") from None
    except Exception as error:  # noqa: BLE001 - its errors for such types have no common class
        raise TypeError(f"Pydantic does not take {kind!r}: {error}") from None
    return found


def validated(kind: Any, value: object) -> Any:
    """Return decoded JSON as the type; raise ConversionError with every fault that Pydantic finds."""
    from pydantic import ValidationError  # noqa: PLC0415 - as above

    try:
        return adapter(kind).validate_json(msgspec.json.encode(value))
    except ValidationError as error:
        raise ConversionError(
            (_pointer(fault["loc"], value, missing=fault["type"] == "missing"), fault["msg"])
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ) from None


def _pointer(steps: tuple[int | str, ...], value: Any, *, missing: bool) -> str:
    """Return the pointer of a fault in the JSON; Pydantic's steps name the members of unions too."""
    found = []
    for number, step in enumerate(steps):
        last = missing and number == len(steps) - 1
        if isinstance(value, dict) and (step in value or last):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            continue
        found.append(f"/{escaped(str(step))}")
    return "".join(found)


def schema(kind: Any, mode: Mode) -> dict[str, Any]:
    """Return the JSON Schema, with `$defs` of its own; raise TypeError if there is none."""
    try:
        found: dict[str, Any] = adapter(kind).json_schema(mode=mode, by_alias=True)
    except TypeError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise TypeError(f"Pydantic has no JSON Schema for {kind!r}: {error}") from None
    return found


def dumps(value: object) -> bool:
    """Return whether Pydantic has to write the value."""
    return is_type(type(value)) or type(value).__module__.partition(".")[0] in {"pydantic", "pydantic_core"}


def dumped(value: object) -> Any:
    """Return a value of one of its types as JSON's, by alias; raise TypeError if it cannot."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python  # noqa: PLC0415 - as above

    try:
        if is_type(type(value)):
            return adapter(type(value)).dump_python(value, mode="json", by_alias=True)
        return to_jsonable_python(value, by_alias=True)
    except PydanticSerializationError as error:
        raise TypeError(str(error)) from None


def dumped_as(kind: Any, value: object) -> Any:
    """Return a value as JSON of its declared type; a value of another type is returned unchanged."""
    from pydantic_core import PydanticSerializationError  # noqa: PLC0415 - as above

    try:
        return adapter(kind).dump_python(value, mode="json", by_alias=True, warnings=False)
    except PydanticSerializationError:
        return value
