"""Translation of type annotations into types that msgspec decodes and checks completely.

Where msgspec cannot decode a type, or would not check all of it, a `Foreign` class stands in its place, which msgspec
hands to a hook: unions of classes without a tag, constraints of the annotated-types library, Pydantic's types. A
class whose fields need that is decoded by a struct of ours if it is a dataclass, and refused otherwise.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from headway.codec import Unresolved, constraints, pydantic
from headway.codec.pointers import ConversionError, faults, summary

_UNIONS: Final = (Union, types.UnionType)


class _Stand(type):
    """Metaclass of stand-ins: msgspec checks that the hook's value is an instance, and any value is."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class Foreign(metaclass=_Stand):
    """Stand-in for a type that msgspec does not decode by itself."""

    read: ClassVar[Callable[[Any], Any]]
    """Conversion of decoded JSON to the value; raises ConversionError, ValueError or TypeError."""
    by_pydantic: ClassVar[Any] = None
    """Type that Pydantic describes, if any."""
    described_by: ClassVar[tuple[Any, ...]] = ()
    """Types of which one describes the value."""
    named: ClassVar[bool] = False
    """Whether the JSON Schema is kept under a name, since the type may contain itself."""


def understood(hint: Any) -> Any:
    """Return a type that msgspec decodes, with `hook`, as `hint` says; raise TypeError for uncheckable types."""
    return _Reading(hint).of(hint)


def hook(kind: type, value: object) -> Any:
    """Decode a type that msgspec does not know: the `dec_hook` of decoders."""
    if issubclass(kind, Foreign):
        return kind.read(value)
    if pydantic.is_type(kind):
        return pydantic.validated(kind, value)
    raise TypeError(f"{kind.__name__} cannot be read from JSON")


def convert(value: object, kind: Any) -> Any:
    """Return decoded JSON as an understood type; raise msgspec.ValidationError."""
    return msgspec.convert(value, kind, dec_hook=hook, str_keys=True)


class _Reading:
    """Rewriting of one type, after the search for the classes that need it, as classes may contain each other."""

    def __init__(self, hint: Any) -> None:
        self._made: dict[Any, type[Foreign]] = {}
        self._aliases: set[Any] = set()
        self._odd: set[Any] = set()
        self._surveying = True
        classes = {each: fields for each in _parts(hint, set()) if (fields := dict(_fields(each)))}
        while found := {kind for kind, fields in classes.items() if kind not in self._odd and self._any(fields)}:
            self._odd |= found
        self._surveying = False

    def _any(self, fields: dict[str, Any]) -> bool:
        return any(self.of(each) != each for each in fields.values())

    def of(self, hint: Any) -> Any:
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(hint, args[0], args[1:])
        if origin in _UNIONS:
            return self._union(hint, [self.of(arg) for arg in args])
        if origin is Literal or hint is Any:
            return hint
        if (value := getattr(hint, "__value__", None)) is not None:  # type Name = …
            return self._alias(hint, value)
        if (inner := getattr(hint, "__supertype__", None)) is not None:  # NewType
            changed = self.of(inner)
            return hint if changed == inner else changed
        if fields := dict(_fields(hint)):
            return self._class(hint, origin or hint, fields)
        if isinstance(origin, type) and args:
            changed = tuple(arg if arg is ... else self.of(arg) for arg in args)
            return hint if changed == args else origin[changed]  # type: ignore[index]
        pydantic.refuse_version_1(hint)
        if pydantic.is_type(hint) and not pydantic.is_model(hint):
            return _by_pydantic(hint)
        return _by_pydantic(hint) if type(hint).__name__ == "TypeAdapter" else hint

    def _alias(self, hint: Any, value: Any) -> Any:
        if hint in self._aliases:
            raise TypeError(f"{hint} contains itself, which only a class can; or annotate it with Any")
        self._aliases.add(hint)
        changed = self.of(value)
        self._aliases.discard(hint)
        return changed

    def _annotated(self, hint: Any, inner: Any, said: tuple[Any, ...]) -> Any:
        if any(pydantic.is_annotation(each) for each in said):
            if found := _struct_in(hint):
                raise TypeError(
                    f"Pydantic's annotations cannot be checked on {found.__name__}, which it does not know; "
                    "use msgspec.Meta, or a model"
                )
            return _by_pydantic(hint)
        kind = self.of(inner)
        for each in constraints.flat(said):
            if isinstance(each, msgspec.Meta):
                kind = Annotated[kind, each]
                if _crashes(kind):
                    raise TypeError(f"a constraint on a union that has a tuple of fixed length: {hint!r}")
            elif (meta := constraints.to_meta(each)) is not None and _accepted(Annotated[kind, meta]):
                kind = Annotated[kind, meta]
            elif (check := constraints.to_check(each)) is not None:
                kind = _checked(kind, *check)
        return kind

    def _union(self, hint: Any, members: list[Any]) -> Any:
        changed: Any = Union[tuple(members)]  # noqa: UP007 - of types known at run time
        if _accepted(changed):
            return hint if changed == hint else changed
        if any(map(wants_pydantic, get_args(hint))) and not _struct_in(hint):
            return _by_pydantic(hint)
        return _first_that_fits(hint, members)

    def _class(self, hint: Any, kind: type, fields: dict[str, Any]) -> Any:
        if pydantic.is_type(kind):
            return _by_pydantic(hint)
        if hint not in self._odd:
            return hint
        if self._surveying:
            return Foreign
        if hint not in self._made and wants_pydantic(hint) and not _struct_in(hint):
            self._made[hint] = _by_pydantic(hint)
        elif hint not in self._made and dataclasses.is_dataclass(kind):
            self._dataclass(hint, kind, fields)
        elif hint not in self._made:
            name, each = next((name, each) for name, each in fields.items() if self.of(each) != each)
            raise TypeError(
                f"{kind.__name__}.{name}: msgspec does not check {each!r} in a class of this kind; "
                "use msgspec.Meta for constraints and tagged structs for unions, or a dataclass"
            )
        return self._made[hint]

    def _dataclass(self, hint: Any, kind: Any, fields: dict[str, Any]) -> None:
        made: Any = type(kind.__name__, (Foreign,), {"named": True})
        self._made[hint] = made
        given = {field.name: field for field in dataclasses.fields(kind) if field.init}
        members: list[Any] = []
        for name, field in given.items():
            changed = self.of(fields[name])
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            members.append((name, changed) if required else (name, changed | UnsetType, UNSET))
        struct = msgspec.defstruct(kind.__name__, members, kw_only=True)

        def read(value: Any) -> Any:
            said = msgspec.structs.asdict(_inner(value, struct))
            return kind(**{name: each for name, each in said.items() if each is not UNSET})

        made.read, made.described_by = read, (struct,)


def wants_pydantic(hint: Any) -> bool:
    """Return whether a type contains one of Pydantic's, at any depth."""
    return any(
        pydantic.is_type(each)
        or (get_origin(each) is Annotated and any(map(pydantic.is_annotation, get_args(each)[1:])))
        for each in _parts(hint, set())
    )


def _struct_in(hint: Any) -> type | None:
    """Return a class in a type that Pydantic does not know, if there is one."""
    for each in _parts(hint, set()):
        kind = get_origin(each) or each
        if isinstance(kind, type) and (issubclass(kind, msgspec.Struct) or hasattr(kind, "__attrs_attrs__")):
            return kind
    return None


def _parts(hint: Any, seen: set[int]) -> Iterator[Any]:
    """Yield a type and its parts, without those of Pydantic's types."""
    if id(hint) in seen:
        return
    seen.add(id(hint))
    yield hint
    if pydantic.is_type(hint):
        return
    inside = (
        [*get_args(hint)[: 1 if get_origin(hint) is Annotated else None]] if get_origin(hint) is not Literal else []
    )
    inside += [getattr(hint, name, None) for name in ("__value__", "__supertype__")]
    inside += [each for _, each in _fields(hint)]
    for each in inside:
        if each is not None:
            yield from _parts(each, seen)


def _fields(hint: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a class, if any, with their types."""
    kind = get_origin(hint) or hint
    if not isinstance(kind, type) or not (
        dataclasses.is_dataclass(kind)
        or issubclass(kind, msgspec.Struct)
        or hasattr(kind, "__attrs_attrs__")
        or hasattr(kind, "__required_keys__")  # a TypedDict
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    ):
        return
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise Unresolved(f"{kind.__name__}: an annotation cannot be resolved: {error}") from None
    given = dict(zip(getattr(kind, "__parameters__", ()), get_args(hint), strict=False))
    for name, each in hints.items():
        inner = _bare(each)
        if get_origin(inner) is not ClassVar and inner is not ClassVar:
            yield name, _filled(inner, given)


def _bare(hint: Any) -> Any:
    """Return the type within Required, NotRequired, ReadOnly and Final."""
    while getattr(get_origin(hint), "_name", getattr(hint, "_name", "")) in {
        "Required",
        "NotRequired",
        "ReadOnly",
        "Final",
    }:
        (hint,) = get_args(hint)
    return hint


def _filled(hint: Any, given: dict[Any, Any]) -> Any:
    """Return the type with the arguments of a generic class in place of its parameters."""
    if not given:
        return hint
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(each, each) for each in parameters)] if parameters else hint


def _crashes(hint: Any) -> bool:
    """Return whether msgspec would end the process: for a tuple of fixed length beside a constraint in one union."""
    members, said = [hint], False
    for each in members:
        if get_origin(each) is Annotated:
            said = said or any(isinstance(part, msgspec.Meta) for part in get_args(each)[1:])
            members.append(get_args(each)[0])
        elif get_origin(each) in _UNIONS:
            members += get_args(each)
    fixed = any(get_origin(each) is tuple and get_args(each)[1:] != (...,) for each in members)
    return said and fixed and any(get_origin(each) in _UNIONS for each in members)


def _accepted(hint: Any) -> bool:
    if _crashes(hint):
        return False
    try:
        msgspec.json.Decoder(hint, dec_hook=hook)
    except (TypeError, ValueError):
        return False
    return True


def _inner(value: Any, kind: Any) -> Any:
    """Convert within a hook, keeping the place of a fault."""
    try:
        return convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConversionError(faults(error)) from None


def _by_pydantic(hint: Any) -> type[Foreign]:
    name = getattr(hint, "__name__", "Pydantic")
    pydantic.adapter(hint)  # refuses unsupported types now
    return type(name, (Foreign,), {"read": lambda value: pydantic.validated(hint, value), "by_pydantic": hint})


def _checked(kind: Any, check: Callable[[Any], object], message: str) -> type[Foreign]:
    def read(value: Any) -> Any:
        found = _inner(value, kind)
        if not check(found):
            raise ConversionError([("", message)])
        return found

    return type("Checked", (Foreign,), {"read": read, "described_by": (kind,)})


def _first_that_fits(hint: Any, members: list[Any]) -> type[Foreign]:
    def read(value: Any) -> Any:
        found: list[tuple[int, Any]] = []
        wrong: list[str] = []
        for original, member in zip(get_args(hint), members, strict=True):
            try:
                found.append((_known(original, value), convert(value, member)))
            except msgspec.ValidationError as error:
                name = getattr(original, "__name__", str(original))
                wrong.append(f"not {name}, as {summary(faults(error))}")
        if not found:
            raise ConversionError([("", "; ".join(wrong))])
        return max(found, key=lambda each: each[0])[1]  # the first candidate with the most known fields

    return type("Union", (Foreign,), {"read": read, "described_by": tuple(members)})


def _known(hint: Any, value: Any) -> int:
    names = {name for name, _ in _fields(hint)} | set(getattr(hint, "model_fields", ()))
    return len(names & value.keys()) if isinstance(value, dict) else 0
