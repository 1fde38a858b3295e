"""Conditions on records: a tree of AND and OR over comparisons, read once and evaluated for each record.

Storage carries out the same tree in SQL; a test holds both against each other on every store. A blank equals only a
blank: it is not greater, not less, contains nothing, and equals no value, so `is not` is true of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

import msgspec

from headway.durations import parse_ms
from headway.features.tables.model import Field, FieldType, Table
from headway.features.tables.rules.values import BadValue, moment_text, normal, one

DEPTH_MAX: Final = 10
TERMS_MAX: Final = 100
WORDS_MAX: Final = 5_000
"""Most characters of all words of `contains` and `not_contains` together. Databases compare a word at each place of the
text, in one step that cannot be interrupted, so the product of both lengths has to be bounded."""
ANY_MAX: Final = 1_000
"""Values that one comparison may name."""
VALUES_MAX: Final = 10_000
"""Most values of all comparisons of a condition together; a statement's number of parameters is limited."""

OPERATORS: Final[Mapping[FieldType, tuple[str, ...]]] = {
    of: (
        *("is", "is_not", "any_of", "none_of", "is_blank", "is_not_blank"),
        *(("contains", "not_contains", "starts_with", "ends_with") if of in words else ()),
        *(("greater", "at_least", "less", "at_most", "between") if of in ordered else ()),
        *(("contains", "not_contains") if of in lists else ()),
        *(("all_of",) if of in lists else ()),
    )
    for words in [(FieldType.TEXT, FieldType.EMAIL, FieldType.CHOICE)]
    for ordered in [(FieldType.NUMBER, FieldType.DATE, FieldType.DATE_TIME)]
    for lists in [(FieldType.MULTI_CHOICE, FieldType.CONNECTION)]
    for of in FieldType
}
"""Operators by field type."""

ALIASES: Final[Mapping[str, str]] = {
    "=": "is", "==": "is", "eq": "is", "equals": "is", "is_equal_to": "is", "!=": "is_not", "<>": "is_not", "ne": "is_not",
    "not": "is_not", "not_equals": "is_not", "does_not_equal": "is_not", "is_not_equal_to": "is_not",
    ">": "greater", "gt": "greater", "greater_than": "greater", "is_greater_than": "greater", "higher_than": "greater",
    "is_higher_than": "greater", "after": "greater", "is_after": "greater",
    ">=": "at_least", "gte": "at_least", "is_at_least": "at_least", "is_on_or_after": "at_least",
    "greater_than_or_equal": "at_least",
    "<": "less", "lt": "less", "less_than": "less", "is_less_than": "less", "lower_than": "less", "is_lower_than": "less",
    "before": "less", "is_before": "less",
    "<=": "at_most", "lte": "at_most", "is_at_most": "at_most", "is_on_or_before": "at_most", "less_than_or_equal": "at_most",
    "is_between": "between", "in": "any_of", "is_any_of": "any_of", "is_any": "any_of", "is_one_of": "any_of",
    "has_any_of": "any_of", "not_in": "none_of", "is_none_of": "none_of", "is_not_any_of": "none_of",
    "has_none_of": "none_of", "has_all_of": "all_of",
    "does_not_contain": "not_contains", "doesnt_contain": "not_contains", "has": "contains", "begins_with": "starts_with",
    "is_empty": "is_blank", "blank": "is_blank", "is_null": "is_blank", "not_blank": "is_not_blank",
    "is_not_empty": "is_not_blank", "is_not_null": "is_not_blank",
}  # fmt: skip
"""Other spellings of operators, with spaces as underscores."""

_NO_VALUE: Final = frozenset({"is_blank", "is_not_blank"})
_MANY: Final = frozenset({"any_of", "none_of", "all_of"})
_WORDS: Final = frozenset({"contains", "not_contains", "starts_with", "ends_with"})
_DAY: Final = re.compile(r"today(?:\s*([+-])\s*(\d{1,5})(?:\s*d(?:ays?)?)?)?", re.IGNORECASE)
_NOW: Final = re.compile(r"now(?:\s*([+-])\s*(.+))?", re.IGNORECASE)


class Moment(msgspec.Struct, frozen=True):
    """Present time, and the zone in which days begin."""

    now_ms: int = 0
    zone: tzinfo = UTC

    @property
    def local(self) -> datetime:
        """Local time in the zone."""
        return datetime.fromtimestamp(self.now_ms / 1000, self.zone)


class Term(msgspec.Struct, frozen=True):
    """One comparison; its values are in normal form."""

    field: str
    type: FieldType
    is_list: bool
    operator: str
    values: tuple[Any, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """All of some conditions, or any of them. All of none is true, any of none is false."""

    all: bool
    items: tuple[Condition, ...] = ()


Condition = Term | Group
EVERY: Final = Group(all=True)
"""The condition of no conditions."""


class BadCondition(ValueError):
    """The condition is invalid; `pointer` names the part."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer, self.message = pointer, message


def read(table: Table, given: Any, moment: Moment) -> Condition:
    """Return the condition that a JSON document describes; raise BadCondition.

    `{"and": […]}`, `{"or": […]}`, or `{"field": "Status", "operator": "is not", "value": "Closed"}`; a list is an AND, and
    nothing is true of every record. Fields are named by name or id. Of dates, values may be `today`, `today-30`; of times
    also `now`, `now+2h`.
    """
    if given is None or given in ({}, []):
        return EVERY
    return _Parser(table, moment).node(given, "", 1)


class _Parser:
    def __init__(self, table: Table, moment: Moment) -> None:
        self._table = table
        self._moment = moment
        self._terms = 0
        self._groups = 0
        self._words = 0
        self._values_left = VALUES_MAX

    def node(self, given: Any, pointer: str, depth: int) -> Condition:
        if depth > DEPTH_MAX:
            raise BadCondition(pointer, f"conditions nest up to {DEPTH_MAX} deep")
        if isinstance(given, list):
            return Group(all=True, items=self._items(given, pointer, depth))
        if not isinstance(given, dict):
            raise BadCondition(pointer, 'a condition is {"and": […]}, {"or": […]} or {"field", "operator", "value"}')
        if len(given) == 1 and (word := next(iter(given))) in ("and", "or"):
            if not isinstance(given[word], list):
                raise BadCondition(f"{pointer}/{word}", "it takes a list of conditions")
            return Group(all=word == "and", items=self._items(given[word], f"{pointer}/{word}", depth))
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise BadCondition(pointer, f"there may be up to {TERMS_MAX} comparisons")
        return self._term(given, pointer)

    def _items(self, given: list[Any], pointer: str, depth: int) -> tuple[Condition, ...]:
        self._groups += 1
        if self._groups > TERMS_MAX:
            raise BadCondition(pointer, f"there may be up to {TERMS_MAX} groups")
        return tuple(self.node(item, f"{pointer}/{index}", depth + 1) for index, item in enumerate(given))

    def _term(self, given: dict[str, Any], pointer: str) -> Term:
        unknown = given.keys() - {"field", "operator", "value"}
        if unknown:
            raise BadCondition(
                pointer, f"there is no {min(unknown)[:80]!r} here; known: and, or; field, operator, value"
            )
        named, word = given.get("field"), given.get("operator", "is")
        field = self._table.find(named) if isinstance(named, str) else None
        if field is None:
            names = ", ".join(repr(one.name) for one in self._table.fields[:20]) or "none"
            raise BadCondition(f"{pointer}/field", f"the table has no field {str(named)[:80]!r}; it has {names}")
        operator = _operator(word) if isinstance(word, str) else None
        if operator not in OPERATORS[field.type]:
            known = ", ".join(OPERATORS[field.type])
            raise BadCondition(
                f"{pointer}/operator", f"{field.name}: a {field.type} field knows no {str(word)[:40]!r}, but {known}"
            )
        try:
            values = self._values(field, operator, given.get("value"))
        except BadValue as error:
            raise BadCondition(f"{pointer}/value", f"{field.name}: the value {error}") from None
        self._values_left -= len(values)
        if self._values_left < 0:
            raise BadCondition(f"{pointer}/value", f"a condition may name up to {VALUES_MAX:,} values")
        if values == () and operator in ("is", "is_not"):
            operator = "is_blank" if operator == "is" else "is_not_blank"
        return Term(field.id, field.type, field.is_list, operator, values)

    def _values(self, field: Field, operator: str, given: Any) -> tuple[Any, ...]:
        if operator in _NO_VALUE:
            return ()
        if operator in _WORDS and not field.is_list and field.type is not FieldType.CONNECTION:
            word = _word(field, given)
            self._words += len(word) if operator in ("contains", "not_contains") else 0
            if self._words > WORDS_MAX:
                raise BadValue(f"is too long: what is looked for in texts may have {WORDS_MAX:,} characters together")
            return (word,)
        if operator in _MANY:
            return self._many(field, given)
        if operator == "between":
            if not isinstance(given, list) or len(given) != 2:  # noqa: PLR2004
                raise BadValue("is no list of two: the least and the most")
            return tuple(self._one(field, item) for item in given)
        if given is None or given in ("", []):
            if operator in ("is", "is_not"):
                return ()
            raise BadValue("is missing")
        if field.is_list and operator in ("is", "is_not") and isinstance(given, list):
            return tuple(normal(field, given) or ())
        return (self._one(field, given),)

    def _many(self, field: Field, given: Any) -> tuple[Any, ...]:
        if not isinstance(given, list):
            raise BadValue("is no list")
        if len(given) > ANY_MAX:
            raise BadValue(f"is a list of {len(given):,}; it takes up to {ANY_MAX:,}")
        return tuple(dict.fromkeys(self._one(field, item) for item in given))

    def _one(self, field: Field, given: Any) -> Any:
        if isinstance(given, list | dict) or given in (None, ""):
            raise BadValue("is no single value")
        if isinstance(given, str) and field.type in (FieldType.DATE, FieldType.DATE_TIME):
            relative = _relative(field.type, given.strip(), self._moment)
            if relative is not None:
                return relative
        return one(field, given, self._moment.zone)


def _operator(word: str) -> str:
    name = re.sub(r"[\s-]+", "_", word.strip().lower().replace("'", ""))
    return ALIASES.get(name, name)


def _word(field: Field, given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise BadValue("is no text")
    found = str(one(Field(id="", name="", type=FieldType.TEXT), given))
    return found.lower() if field.type is FieldType.EMAIL else found


def _relative(of: FieldType, given: str, moment: Moment) -> str | None:
    """Return the day or time that `today` or `now` mean."""
    try:
        if found := _DAY.fullmatch(given):
            days = int(found[2] or 0) * (-1 if found[1] == "-" else 1)
            day = moment.local.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
            return day.date().isoformat() if of is FieldType.DATE else moment_text(day)
        found = _NOW.fullmatch(given) if of is FieldType.DATE_TIME else None
        if found:
            ms = parse_ms(found[2]) if found[2] else 0
            return moment_text(moment.local.astimezone(UTC) + timedelta(milliseconds=-ms if found[1] == "-" else ms))
    except (ValueError, OverflowError):
        raise BadValue(f"is {given[:40]!r}; it takes now, now+2h, today or today-30") from None
    return None


# -- true or false -----------------------------------------------------------------------------------------------------

_ONE: Final[Mapping[str, Callable[[Any, tuple[Any, ...]], bool]]] = {
    "is": lambda value, asked: value == asked[0],
    "is_not": lambda value, asked: value != asked[0],
    "any_of": lambda value, asked: value in asked,
    "none_of": lambda value, asked: value not in asked,
    "all_of": lambda value, asked: all(value == each for each in asked),
    "contains": lambda value, asked: asked[0] in value,
    "not_contains": lambda value, asked: asked[0] not in value,
    "starts_with": lambda value, asked: value.startswith(asked[0]),
    "ends_with": lambda value, asked: value.endswith(asked[0]),
    "greater": lambda value, asked: value > asked[0],
    "at_least": lambda value, asked: value >= asked[0],
    "less": lambda value, asked: value < asked[0],
    "at_most": lambda value, asked: value <= asked[0],
    "between": lambda value, asked: asked[0] <= value <= asked[1],
}
_LIST: Final[Mapping[str, Callable[[list[Any], tuple[Any, ...]], bool]]] = {
    "is": lambda value, asked: set(value) == set(asked),
    "is_not": lambda value, asked: set(value) != set(asked),
    "any_of": lambda value, asked: not set(asked).isdisjoint(value),
    "none_of": lambda value, asked: set(asked).isdisjoint(value),
    "all_of": lambda value, asked: set(asked).issubset(value),
    "contains": lambda value, asked: asked[0] in value,
    "not_contains": lambda value, asked: asked[0] not in value,
}
NEGATIVE: Final = frozenset({"is_not", "none_of", "not_contains"})
"""Operators that are true of a blank."""


def matches(condition: Condition, values: Mapping[str, Any]) -> bool:
    """Return whether the condition is true of a record with these values."""
    if isinstance(condition, Group):
        found = (matches(item, values) for item in condition.items)
        return all(found) if condition.all else any(found)
    value = values.get(condition.field)
    if condition.operator == "is_blank":
        return value is None
    if condition.operator == "is_not_blank":
        return value is not None
    if value is None:
        return condition.operator in NEGATIVE or (condition.operator == "all_of" and not condition.values)
    if condition.is_list:
        return _LIST[condition.operator](value, condition.values)
    if condition.type is FieldType.CONNECTION and condition.operator in ("contains", "not_contains"):
        return bool(value == condition.values[0]) == (condition.operator == "contains")
    return _ONE[condition.operator](value, condition.values)


def named_fields(condition: Condition) -> set[str]:
    """Return the ids of the fields in a condition."""
    if isinstance(condition, Group):
        return {field for item in condition.items for field in named_fields(item)}
    return {condition.field}
