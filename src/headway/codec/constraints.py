"""Constraints of the annotated-types library: as msgspec's Meta where there is one, else as a check in Python."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

_HOME: Final = "annotated_types"
_BOUNDS: Final[dict[str, tuple[str, Callable[[Any, Any], bool], str]]] = {
    "Gt": ("gt", operator.gt, "greater than"),
    "Ge": ("ge", operator.ge, "at least"),
    "Lt": ("lt", operator.lt, "less than"),
    "Le": ("le", operator.le, "at most"),
}
_INFORMATION: Final = {"Unit", "DocInfo"}
"""Annotations that describe and check nothing."""


def flat(said: Iterable[Any]) -> Iterator[Any]:
    """Yield the metadata of an Annotated, with groups such as Interval and Len in parts."""
    for each in said:
        if _ours(each) and hasattr(each, "__iter__"):
            yield from flat(each)
        else:
            yield each


def to_meta(said: Any) -> msgspec.Meta | None:
    """Return the constraint as msgspec's Meta; None if msgspec has none for it."""
    if not _ours(said):
        return None
    try:
        match type(said).__name__:
            case name if name in _BOUNDS:
                word = _BOUNDS[name][0]
                return msgspec.Meta(**{word: getattr(said, word)})
            case "MultipleOf":
                return msgspec.Meta(multiple_of=said.multiple_of)
            case "MinLen":
                return msgspec.Meta(min_length=said.min_length)
            case "MaxLen":
                return msgspec.Meta(max_length=said.max_length)
            case "Timezone" if said.tz in (None, ...):
                return msgspec.Meta(tz=said.tz is not None)
    except (TypeError, ValueError):  # of a bound that is no number: a Decimal, a datetime
        return None
    return None


def to_check(said: Any) -> tuple[Callable[[Any], object], str] | None:
    """Return a check and its failure message, None for no constraint; raise TypeError for an unknown one."""
    if not _ours(said):
        return None
    match type(said).__name__:
        case name if name in _BOUNDS:
            word, holds, words = _BOUNDS[name]
            bound = getattr(said, word)
            return lambda value: holds(value, bound), f"it has to be {words} {bound}"
        case "MultipleOf":
            return lambda value: not value % said.multiple_of, f"it has to be a multiple of {said.multiple_of}"
        case "MinLen":
            return lambda value: len(value) >= said.min_length, f"it has to be at least {said.min_length} long"
        case "MaxLen":
            return lambda value: len(value) <= said.max_length, f"it may be {said.max_length} long"
        case "Predicate":
            return said.func, f"it does not fit {getattr(said.func, '__qualname__', said.func)}"
        case name if name in _INFORMATION:
            return None
    raise TypeError(f"{said!r} is a constraint that is not known; it would not be checked")


def _ours(said: Any) -> bool:
    return any(kind.__module__ == _HOME for kind in type(said).__mro__)
