"""Puts statements on records together from conditions: beside `lists`, the other place where SQL depends on a request.

Ids of fields are made by us (`field_7`), values are always bound. A list of records goes by the order of ids or by the index
of one field; so that a page costs the same however many records there are and few fit, it looks at no more of them than up
to an edge, and the next page goes on there.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from headway.features.tables.model import FieldType, Table
from headway.features.tables.rules.conditions import NEGATIVE, Condition, Group, Term
from headway.features.tables.rules.keys import key
from headway.store.statements import Dialect

Statement = tuple[str, dict[str, Any]]
"""SQL and its binds."""

COLUMNS: Final = "records.id, records.version, records.data, records.created_at, records.updated_at"
_FIELD: Final = re.compile(r"field_\d+")
_SIGNS: Final = {"is": "=", "is_not": "<>", "greater": ">", "at_least": ">=", "less": "<", "at_most": "<="}


class ListOrder(msgspec.Struct, frozen=True):
    """The order of a list: by id, or by the index of a field with what is blank at the end; and what is at its start."""

    field: str = ""
    type: FieldType = FieldType.TEXT
    down: bool = False


class Spelling:
    """A condition in SQL."""

    def __init__(self, dialect: Dialect) -> None:
        self._words = dialect.words
        self.binds: dict[str, Any] = {}

    def spell(self, condition: Condition) -> str:
        """Return the term; what it compares with is in `binds`."""
        if isinstance(condition, Group):
            if not condition.items:
                return "1 = 1" if condition.all else "1 = 0"
            return f"({(' AND ' if condition.all else ' OR ').join(map(self.spell, condition.items))})"
        assert _FIELD.fullmatch(condition.field), condition.field
        text = self._words["text_at"].format(condition.field)
        match condition.operator:
            case "is_blank":
                return f"{text} IS NULL"
            case "is_not_blank":
                return f"{text} IS NOT NULL"
        found = self._list(condition) if condition.lists else self._one(condition, text)
        return f"({text} IS NULL OR {found})" if condition.operator in NEGATIVE else found

    def bind(self, value: Any) -> str:
        """Return the name under which a value is bound."""
        name = f"value_{len(self.binds)}"
        self.binds[name] = value
        return f":{name}"

    def _one(self, term: Term, text: str) -> str:
        operator, values = term.operator, term.values
        if term.type is FieldType.CONNECTION and operator in ("contains", "not_contains"):
            operator = "is" if operator == "contains" else "is_not"
        at, each = text, self._text
        if term.type is FieldType.NUMBER:
            at, each = self._words["number_at"].format(term.field), self._number
        elif term.type is FieldType.BOOLEAN:
            at, each = self._words["flag_at"].format(term.field), self._flag
        match operator:
            case "any_of" | "none_of" if not values:
                return "1 = 0" if operator == "any_of" else "1 = 1"
            case "any_of" | "none_of":
                return f"{at} {'NOT ' if operator == 'none_of' else ''}IN ({', '.join(map(each, values))})"
            case "all_of":  # of a field with one value
                return f"{at} = {each(values[0])}" if len(values) == 1 else "1 = 0" if values else "1 = 1"
            case "contains":
                return self._words["found_in"].format(at, each(values[0]))
            case "not_contains":
                return f"NOT {self._words['found_in'].format(at, each(values[0]))}"
            case "starts_with":
                word = each(values[0])
                return f"substr({at}, 1, length({word})) = {word}"
            case "ends_with":
                word = each(values[0])
                return f"(length({at}) >= length({word}) AND substr({at}, length({at}) - length({word}) + 1) = {word})"
            case "between":
                return f"({at} >= {each(values[0])} AND {at} <= {each(values[1])})"
        return f"{at} {_SIGNS[operator]} {each(values[0])}"

    def _list(self, term: Term) -> str:
        items = f"{self._words['items_at'].format(term.field)} AS item"
        if not term.values:
            return "1 = 1" if term.operator in ("none_of", "all_of") else "1 = 0"
        # One pass over the record's list for all named values; a pass for each would multiply the cost.
        among = f"item.value IN ({', '.join(map(self._text, term.values))})"
        match term.operator:
            case "any_of" | "contains":
                return f"EXISTS (SELECT 1 FROM {items} WHERE {among})"  # noqa: S608
            case "none_of" | "not_contains":
                return f"NOT EXISTS (SELECT 1 FROM {items} WHERE {among})"  # noqa: S608
        every = f"(SELECT count(DISTINCT item.value) FROM {items} WHERE {among}) = {len(set(term.values))}"  # noqa: S608
        if term.operator == "all_of":
            return every
        same = f"({every} AND (SELECT count(*) FROM {items}) = {len(term.values)})"  # noqa: S608
        return same if term.operator == "is" else f"NOT {same}"

    def _text(self, value: Any) -> str:
        return f"CAST({self.bind(str(value))} AS text)"

    def _number(self, value: Any) -> str:
        # As text, so that the database reads it as it reads what is stored.
        return f"CAST(CAST({self.bind(msgspec.json.encode(value).decode())} AS text) AS DOUBLE PRECISION)"

    def _flag(self, value: Any) -> str:
        return "1" if value else "0"


def page(
    dialect: Dialect, table: Table, condition: Condition, walk: ListOrder, after: str, limit: int, edge: str = ""
) -> Statement:
    """Return the statement for the records after a place, up to a limit or to the edge."""
    spelling = Spelling(dialect)
    term = spelling.spell(condition)
    route = _route(table, condition, walk, after, edge)
    binds = spelling.binds | route.binds | {"limit": limit}
    columns = f"{COLUMNS}, one.value" if route.valued else COLUMNS
    source = f"{route.index} CROSS JOIN records" if route.index else "records"
    where = " AND ".join([*route.span, *route.terms, term])
    return dialect.spell(f"SELECT {columns} FROM {source} WHERE {where} ORDER BY {route.order} LIMIT :limit"), binds  # noqa: S608


def edge(dialect: Dialect, table: Table, condition: Condition, walk: ListOrder, after: str, window: int) -> Statement:
    """Return the statement that finds the last place of so many; nothing if there are fewer."""
    route = _route(table, condition, walk, after, "")
    what = f"{route.at}, one.value" if route.valued else route.at
    where = " AND ".join(route.span)
    sql = f"SELECT {what} FROM {route.index or 'records'} WHERE {where} ORDER BY {route.order} LIMIT 1 OFFSET :skipped"  # noqa: S608
    return dialect.spell(sql), route.binds | {"skipped": window - 1}


class _Route(msgspec.Struct):
    """Which index is walked, in which order, from where to where."""

    index: str
    """The one beside the records, if it is that; a cross join with it is carried out as it is written."""
    at: str
    order: str
    span: list[str]
    terms: list[str]
    """What is looked up record by record."""
    binds: dict[str, Any]
    valued: bool = False
    """Whether places have a value."""


def _route(table: Table, condition: Condition, walk: ListOrder, after: str, edge: str) -> _Route:
    way, signs = ("DESC", ("<", ">=")) if walk.down else ("ASC", (">", "<="))
    binds: dict[str, Any] = {"table_number": table.number}
    ends = [
        (text, sign, name) for text, sign, name in zip((after, edge), signs, ("after", "edge"), strict=True) if text
    ]
    lead = None if walk.field else _lead(table, condition)
    if walk.field and not after.startswith(BLANKS):
        span = ["one.table_number = :table_number", "one.field = :field"]
        binds["field"] = walk.field
        for text, sign, name in ends:
            span.append(f"(one.value, one.record_id) {sign} (:{name}_value, :{name})")
            binds[f"{name}_value"], _, binds[name] = text.rpartition(BLANKS)
        order = f"one.value {way}, one.record_id {way}"
        return _Route("record_values AS one", "one.record_id", order, span, list(_JOINED), binds, valued=True)
    at = "records.id" if lead is None else "one.record_id"
    span = []
    for text, sign, name in ends:
        if text != BLANKS:
            span.append(f"{at} {sign} :{name}")
            binds[name] = text.removeprefix(BLANKS)
    if lead is None:
        blank = [f"@text_at({walk.field}) IS NULL"] if walk.field else []
        return _Route("", at, f"{at} {way}", ["records.table_number = :table_number", *span], blank, binds)
    binds |= {"field": lead.field, "lead": key(lead.type, lead.values[0])}
    span = ["one.table_number = :table_number", "one.field = :field", "one.value = :lead", *span]
    return _Route("record_values AS one", at, f"{at} {way}", span, list(_JOINED), binds)


_JOINED: Final = ("records.table_number = :table_number", "records.id = one.record_id")
BLANKS: Final = "\x00"
"""Between key and id of a place. Places of records without a value begin with it; they come after those that have one."""


def place(walk: ListOrder, record_id: str, value: str | None) -> str:
    """Return the place of a record in a list: what `after` takes."""
    if not walk.field:
        return record_id
    return f"{value or ''}{BLANKS}{record_id}"


def _lead(table: Table, condition: Condition) -> Term | None:
    """Return the comparison whose index has all that fit, in order of id."""
    terms = condition.items if isinstance(condition, Group) and condition.all else (condition,)
    for term in terms:
        if isinstance(term, Term) and len(term.values) == 1:
            field = table.find(term.field)
            whole = not term.lists or term.operator == "contains"
            equal = term.operator in ("is", "any_of") or (term.operator == "contains" and term.type in _HAS)
            if field is not None and field.kept and whole and equal:
                return term
    return None


_HAS: Final = (FieldType.MULTI_CHOICE, FieldType.CONNECTION)


def count(dialect: Dialect, table: Table, condition: Condition) -> Statement:
    """Return the statement that counts the records of which the condition is true."""
    spelling = Spelling(dialect)
    term = spelling.spell(condition)
    binds = spelling.binds | {"table_number": table.number}
    lead = _lead(table, condition)
    if lead is not None:
        binds |= {"field": lead.field, "lead": key(lead.type, lead.values[0])}
        term += (
            " AND id IN (SELECT record_id FROM record_values"
            " WHERE table_number = :table_number AND field = :field AND value = :lead)"
        )
    return dialect.spell(f"SELECT count(*) FROM records WHERE table_number = :table_number AND {term}"), binds  # noqa: S608


def at_offset(dialect: Dialect, table: Table, condition: Condition, offset: int, limit: int) -> Statement:
    """Return the statement for a page by its number, in order of id: it costs as much as all pages before it together."""
    sql, binds = page(dialect, table, condition, ListOrder(), "", limit)
    return f"{sql} OFFSET {int(offset)}", binds


def fitting(dialect: Dialect, table: Table, condition: Condition, after: str, edge: str) -> Statement:
    """Return the statement for id and version of the records after one, up to another, of which a condition is true."""
    spelling = Spelling(dialect)
    term = spelling.spell(condition)
    binds = spelling.binds | {"table_number": table.number, "after": after, "edge": edge}
    return dialect.spell(
        f"SELECT id, version FROM records WHERE table_number = :table_number AND id > :after AND id <= :edge AND {term}"  # noqa: S608
    ), binds


def chosen(dialect: Dialect, table: Table, condition: Condition) -> Statement:
    """Return the statement for the records of `ids`, a JSON array that is still to be bound, of which a condition is true."""
    spelling = Spelling(dialect)
    term = spelling.spell(condition)
    sql = f"SELECT {COLUMNS} FROM records WHERE table_number = :table_number AND id IN @ids AND {term} ORDER BY id"  # noqa: S608
    return dialect.spell(sql), spelling.binds | {"table_number": table.number}
