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


def flat(constraints: Iterable[Any]) -> Iterator[Any]:
    """Yield the metadata of an Annotated, with groups such as Interval and Len in parts."""
    for each in constraints:
        if _ours(each) and hasattr(each, "__iter__"):
            yield from flat(each)
        else:
            yield each


def to_meta(constraint: Any) -> msgspec.Meta | None:
    """Return the constraint as msgspec's Meta; None if msgspec has none for it."""
    if not _ours(constraint):
        return None
    try:
        match type(constraint).__name__:
            case name if name in _BOUNDS:
                word = _BOUNDS[name][0]
                return msgspec.Meta(**{word: getattr(constraint, word)})
            case "MultipleOf":
                return msgspec.Meta(multiple_of=constraint.multiple_of)
            case "MinLen":
                return msgspec.Meta(min_length=constraint.min_length)
            case "MaxLen":
                return msgspec.Meta(max_length=constraint.max_length)
            case "Timezone" if constraint.tz in (None, ...):
                return msgspec.Meta(tz=constraint.tz is not None)
    except (TypeError, ValueError):  # of a bound that is no number: a Decimal, a datetime
        return None
    return None


def to_check(constraint: Any) -> tuple[Callable[[Any], object], str] | None:
    """Return a check and its failure message, None for no constraint; raise TypeError for an unknown one."""
    if not _ours(constraint):
        return None
    match type(constraint).__name__:
        case name if name in _BOUNDS:
            word, holds, words = _BOUNDS[name]
            bound = getattr(constraint, word)
            return lambda value: holds(value, bound), f"it has to be {words} {bound}"
        case "MultipleOf":
            return (
                lambda value: not value % constraint.multiple_of,
                f"it has to be a multiple of {constraint.multiple_of}",
            )
        case "MinLen":
            return (
                lambda value: len(value) >= constraint.min_length,
                f"it has to be at least {constraint.min_length} long",
            )
        case "MaxLen":
            return lambda value: len(value) <= constraint.max_length, f"it may be {constraint.max_length} long"
        case "Predicate":
            return constraint.func, f"it does not fit {getattr(constraint.func, '__qualname__', constraint.func)}"
        case name if name in _INFORMATION:
            return None
    raise TypeError(f"{constraint!r} is a constraint that is not known; it would not be checked")


def _ours(constraint: Any) -> bool:
    return any(kind.__module__ == _HOME for kind in type(constraint).__mro__)
