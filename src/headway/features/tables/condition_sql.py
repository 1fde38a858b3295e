"""SQL of conditions on records and of their order, made for each request; beside `lists` the only SQL that is.

Ids of fields are the server's own (`field_7`), values are always bound. A list follows the order of ids or the index of one
field. A page with a condition looks at the records of a window only, so that its cost is bounded however few match; the next
page goes on at the window's end.
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
"""Text of the SQL, and binds by name."""

COLUMNS: Final = "records.id, records.version, records.data, records.created_at, records.updated_at"
_FIELD: Final = re.compile(r"field_\d+")
_SIGNS: Final = {"is": "=", "is_not": "<>", "greater": ">", "at_least": ">=", "less": "<", "at_most": "<="}


class ListOrder(msgspec.Struct, frozen=True):
    """Order of a list: by id, or by the index of a field with blanks last."""

    field: str = ""
    type: FieldType = FieldType.TEXT
    down: bool = False


class ConditionSql:
    """Translation of a condition into SQL, with the binds of its values."""

    def __init__(self, dialect: Dialect) -> None:
        self._words = dialect.words
        self.binds: dict[str, Any] = {}

    def term(self, condition: Condition) -> str:
        """Return the SQL of a condition, and add its values to `binds`."""
        if isinstance(condition, Group):
            if not condition.items:
                return "1 = 1" if condition.all else "1 = 0"
            return f"({(' AND ' if condition.all else ' OR ').join(map(self.term, condition.items))})"
        assert _FIELD.fullmatch(condition.field), condition.field
        text = self._words["text_at"].format(condition.field)
        match condition.operator:
            case "is_blank":
                return f"{text} IS NULL"
            case "is_not_blank":
                return f"{text} IS NOT NULL"
        found = self._list(condition) if condition.is_list else self._one(condition, text)
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
        # As text, which the database parses as it parses stored numbers.
        return f"CAST(CAST({self.bind(msgspec.json.encode(value).decode())} AS text) AS DOUBLE PRECISION)"

    def _flag(self, value: Any) -> str:
        return "1" if value else "0"


def page(
    dialect: Dialect, table: Table, condition: Condition, order: ListOrder, after: str, limit: int, edge: str = ""
) -> Statement:
    """Return the statement for the records after a position, up to `limit` records or the position `edge`."""
    given = ConditionSql(dialect)
    term = given.term(condition)
    scan = _scan(table, condition, order, after, edge)
    binds = given.binds | scan.binds | {"limit": limit}
    columns = f"{COLUMNS}, one.value" if scan.valued else COLUMNS
    source = f"{scan.index} CROSS JOIN records" if scan.index else "records"
    where = " AND ".join([*scan.span, *scan.filters, term])
    return dialect.spell(f"SELECT {columns} FROM {source} WHERE {where} ORDER BY {scan.order} LIMIT :limit"), binds  # noqa: S608


def window_end(
    dialect: Dialect, table: Table, condition: Condition, order: ListOrder, after: str, window: int
) -> Statement:
    """Return the statement for the position of the last record of a window; it finds no row if there are fewer records."""
    scan = _scan(table, condition, order, after, "")
    columns = f"{scan.id}, one.value" if scan.valued else scan.id
    where = " AND ".join(scan.span)
    sql = f"SELECT {columns} FROM {scan.index or 'records'} WHERE {where} ORDER BY {scan.order} LIMIT 1 OFFSET :skipped"  # noqa: S608
    return dialect.spell(sql), scan.binds | {"skipped": window - 1}


class _Scan(msgspec.Struct):
    """Scan of an index: its order, its range, and the filters on the records that it finds."""

    index: str
    """Index of values, joined to the records; empty: the records themselves, by id. A cross join keeps this join order."""
    id: str
    order: str
    span: list[str]
    filters: list[str]
    binds: dict[str, Any]
    valued: bool = False
    """Whether positions have a value beside the id."""


def _scan(table: Table, condition: Condition, order: ListOrder, after: str, edge: str) -> _Scan:
    way, signs = ("DESC", ("<", ">=")) if order.down else ("ASC", (">", "<="))
    binds: dict[str, Any] = {"table_number": table.number}
    ends = [
        (text, sign, name) for text, sign, name in zip((after, edge), signs, ("after", "edge"), strict=True) if text
    ]
    indexed = None if order.field else _indexed_term(table, condition)
    if order.field and not after.startswith(BLANKS):
        span = ["one.table_number = :table_number", "one.field = :field"]
        binds["field"] = order.field
        for text, sign, name in ends:
            span.append(f"(one.value, one.record_id) {sign} (:{name}_value, :{name})")
            binds[f"{name}_value"], _, binds[name] = text.rpartition(BLANKS)
        sorting = f"one.value {way}, one.record_id {way}"
        return _Scan("record_values AS one", "one.record_id", sorting, span, list(_JOINED), binds, valued=True)
    record_id = "records.id" if indexed is None else "one.record_id"
    span = []
    for text, sign, name in ends:
        if text != BLANKS:
            span.append(f"{record_id} {sign} :{name}")
            binds[name] = text.removeprefix(BLANKS)
    sorting = f"{record_id} {way}"
    if indexed is None:
        blank = [f"@text_at({order.field}) IS NULL"] if order.field else []
        return _Scan("", record_id, sorting, ["records.table_number = :table_number", *span], blank, binds)
    binds |= {"field": indexed.field, "lead": key(indexed.type, indexed.values[0])}
    span = ["one.table_number = :table_number", "one.field = :field", "one.value = :lead", *span]
    return _Scan("record_values AS one", record_id, sorting, span, list(_JOINED), binds)


_JOINED: Final = ("records.table_number = :table_number", "records.id = one.record_id")
BLANKS: Final = "\x00"
"""Separator of key and id in a position. Positions of records with a blank begin with it; they come last."""


def position(order: ListOrder, record_id: str, value: str | None) -> str:
    """Return the position of a record in a list, as `after` takes it."""
    if not order.field:
        return record_id
    return f"{value or ''}{BLANKS}{record_id}"


def _indexed_term(table: Table, condition: Condition) -> Term | None:
    """Return a comparison whose index entries include all matches, in order of id."""
    terms = condition.items if isinstance(condition, Group) and condition.all else (condition,)
    for term in terms:
        if isinstance(term, Term) and len(term.values) == 1:
            field = table.find(term.field)
            whole = not term.is_list or term.operator == "contains"
            equal = term.operator in ("is", "any_of") or (term.operator == "contains" and term.type in _HAS)
            if field is not None and field.has_index and whole and equal:
                return term
    return None


_HAS: Final = (FieldType.MULTI_CHOICE, FieldType.CONNECTION)


def count(dialect: Dialect, table: Table, condition: Condition) -> Statement:
    """Return the statement that counts the records of which the condition is true."""
    given = ConditionSql(dialect)
    term = given.term(condition)
    binds = given.binds | {"table_number": table.number}
    indexed = _indexed_term(table, condition)
    if indexed is not None:
        binds |= {"field": indexed.field, "lead": key(indexed.type, indexed.values[0])}
        term += (
            " AND id IN (SELECT record_id FROM record_values"
            " WHERE table_number = :table_number AND field = :field AND value = :lead)"
        )
    return dialect.spell(f"SELECT count(*) FROM records WHERE table_number = :table_number AND {term}"), binds  # noqa: S608


def at_offset(dialect: Dialect, table: Table, condition: Condition, offset: int, limit: int) -> Statement:
    """Return the statement for the records from an offset on, in order of id; it reads all records before them."""
    sql, binds = page(dialect, table, condition, ListOrder(), "", limit)
    return f"{sql} OFFSET {int(offset)}", binds


def versions(dialect: Dialect, table: Table, condition: Condition, after: str, edge: str) -> Statement:
    """Return the statement for ids and versions of the records of a span of which the condition is true."""
    given = ConditionSql(dialect)
    term = given.term(condition)
    binds = given.binds | {"table_number": table.number, "after": after, "edge": edge}
    return dialect.spell(
        f"SELECT id, version FROM records WHERE table_number = :table_number AND id > :after AND id <= :edge AND {term}"  # noqa: S608
    ), binds


def matching(dialect: Dialect, table: Table, condition: Condition) -> Statement:
    """Return the statement for the records of which the condition is true among `ids`, a JSON array to be bound."""
    given = ConditionSql(dialect)
    term = given.term(condition)
    sql = f"SELECT {COLUMNS} FROM records WHERE table_number = :table_number AND id IN @ids AND {term} ORDER BY id"  # noqa: S608
    return dialect.spell(sql), given.binds | {"table_number": table.number}
