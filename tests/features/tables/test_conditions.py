"""Conditions: what they say in Python, SQL says on every store; and the ways in which lists are walked find all that fits."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from headway.features.tables import condition_sql as statements
from headway.features.tables import store as storage
from headway.features.tables.condition_sql import ListOrder
from headway.features.tables.model import Field, FieldType, RecordChange, Table
from headway.features.tables.rules.conditions import (
    OPERATORS,
    BadCondition,
    Group,
    Moment,
    Term,
    matches,
    read,
)
from headway.features.tables.rules.values import normal
from headway.store.postgres.dialect import POSTGRES
from headway.store.sqlite.dialect import SQLITE

CHOICES = ("new", "open", "closed", "a'b", 'q"', "ö")
FIELDS = (
  *(
    Field(
        id=f"field_{number}", name=of.value, type=of, multiple=False, indexed=of in (FieldType.TEXT, FieldType.NUMBER),
        choices=CHOICES if of in (FieldType.CHOICE, FieldType.MULTI_CHOICE) else (),
        table_id="t" if of is FieldType.CONNECTION else None,
    )
    for number, of in enumerate(FieldType, 1)
  ),
  Field(id="field_10", name="many", type=FieldType.CONNECTION, table_id="t", multiple=True),
)  # fmt: skip
TABLE = Table(number=1, id="t", organisation=1, name="t", fields=FIELDS)
BY_ID = {field.id: field for field in FIELDS}

TEXTS = st.one_of(
    st.sampled_from(
        [
            "a",
            "ab",
            "abc",
            "b",
            "A",
            "%",
            "_",
            "'",
            "\\",
            '"',
            "ö",
            "ß",
            "é",
            "\U0001f600",
            " ",
            "[]",
            "null",
            "1",
            "true",
        ]
    ),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=6),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 0.1, 0.3, 1.5, -2.25, 10, 9, 100, 123456789012345, 0.000001, 1e-20, 12345678901234.5]),
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.floats(-1e14, 1e14).filter(lambda number: number == 0 or abs(number) > 1e-90),
)
IDS = st.sampled_from(["r1", "r2", "r3", "r'4"])
OF_TYPE = {
    FieldType.TEXT: TEXTS,
    FieldType.NUMBER: NUMBERS,
    FieldType.DATE: st.dates().map(str),
    FieldType.DATE_TIME: st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    FieldType.BOOLEAN: st.booleans(),
    FieldType.CHOICE: st.sampled_from(CHOICES),
    FieldType.MULTI_CHOICE: st.sampled_from(CHOICES),
    FieldType.EMAIL: st.sampled_from(["ann@example.com", "bo@example.org", "ö@exämple.com"]),
    FieldType.CONNECTION: IDS,
}


def of_field(field):
    """Return what a record may have in a field, a blank included."""
    single = OF_TYPE[field.type]
    return st.none() | (st.lists(single, max_size=4) if field.is_list else single).map(
        lambda value: normal(field, value)
    )


@st.composite
def rows(draw):
    values = {field.id: draw(of_field(field)) for field in FIELDS}
    return {name: value for name, value in values.items() if value is not None}


@st.composite
def terms(draw):
    field = draw(st.sampled_from(FIELDS))
    operator = draw(st.sampled_from(OPERATORS[field.type]))
    single = OF_TYPE[field.type]
    value = single
    if operator in ("any_of", "none_of", "all_of") or (field.is_list and operator in ("is", "is_not")):
        value = st.lists(single, max_size=3)
    elif operator == "between":
        value = st.lists(single, min_size=2, max_size=2)
    elif operator in ("contains", "starts_with", "ends_with", "not_contains") and not field.is_list:
        value = single if field.type is FieldType.CONNECTION else TEXTS
    return {"field": field.name, "operator": operator, "value": draw(value)}


def trees():
    return st.recursive(
        terms(), lambda inner: st.builds(lambda word, items: {word: items}, st.sampled_from(["and", "or"]), st.lists(inner, max_size=3)),
        max_leaves=5,
    )  # fmt: skip


def in_sql(ask, dialect, condition, records):
    """Return which of some records (as JSON) the database says the condition is true of."""
    translation = statements.ConditionSql(dialect)
    term = dialect.spell(translation.term(condition))
    data = dialect.binds(":data")
    number = dialect.binds(":number")
    made = " UNION ALL ".join(
        f"SELECT CAST({number.replace('number', f'number_{n}')} AS bigint) AS number,"
        f" CAST({data.replace('data', f'data_{n}')} AS text) AS data"
        for n in range(len(records))
    )
    binds = (
        translation.binds
        | {f"number_{n}": n for n in range(len(records))}
        | {f"data_{n}": text for n, text in enumerate(records)}
    )
    return {row[0] for row in ask(f"SELECT number FROM ({made}) AS records WHERE {term}", binds)}


@pytest.fixture
def database(harness):
    """The reading connection and its dialect."""
    return harness.store.writer._database, POSTGRES if harness.postgres else SQLITE


def test_sql_and_python_agree_on_every_condition(database):
    connection, dialect = database

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(st.lists(rows(), min_size=1, max_size=8), st.lists(trees(), min_size=1, max_size=4))
    def agree(records, asked):
        texts = [storage._encode(values).decode() for values in records]
        for tree in asked:
            condition = read(TABLE, json.loads(json.dumps(tree)), Moment())
            there = {n for n, values in enumerate(records) if matches(condition, values)}
            assert in_sql(connection.select, dialect, condition, texts) == there, condition

    agree()


def test_a_record_is_found_whatever_the_walk(database, harness):
    """Pages by id, by an index, and both ways, together have each record that fits, once and in order."""

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(st.lists(rows(), max_size=25), trees(), st.integers(1, 7), st.integers(1, 9))
    def complete(records, tree, size, window):
        condition = read(TABLE, tree, Moment())
        ids = [f"{n:04}" for n in range(len(records))]
        connection, dialect = database
        connection.begin()
        try:
            from headway.store.unit_of_work import UnitOfWork

            uow = UnitOfWork(connection, harness.store.definitions, {}, 1)
            storage.insert_table(uow, TABLE)
            storage.write_records(uow, TABLE, list(map(RecordChange, ids, records)))
            fitting = [n for n, values in zip(ids, records, strict=True) if matches(condition, values)]
            for order in (
                ListOrder(),
                ListOrder(down=True),
                ListOrder("field_1"),
                ListOrder("field_2"),
                ListOrder("field_2", down=True),
            ):
                expected = in_order(fitting, dict(zip(ids, records, strict=True)), order)
                assert paged(connection, dialect, condition, size, order, window) == expected
            assert storage.count_records(connection, dialect, replace(TABLE, count=len(ids)), condition) == len(fitting)
            at = storage.read_at(connection, dialect, TABLE, condition, 2, 3)
            assert [record.id for record in at] == fitting[2:5]
        finally:
            connection.rollback()

    complete()


def in_order(ids, values, order):
    if not order.field:
        return ids[::-1] if order.down else ids
    has = [n for n in ids if order.field in values[n]]
    has.sort(key=lambda n: (values[n][order.field], n), reverse=order.down)
    blank = [n for n in ids if order.field not in values[n]]
    return has + (blank[::-1] if order.down else blank)


def paged(connection, dialect, condition, size, order, window):
    found, after = [], ""
    while True:
        records, after = storage.read_page(
            UncutPages(connection), dialect, TABLE, condition, after, size, order, window
        )
        assert len(records) <= size
        found += [record.id for record in records]
        if not after:
            return found


class UncutPages:
    """The writing connection, with pages that are never cut."""

    def __init__(self, connection):
        self.select = connection.select
        self.select_within = lambda _, sql, binds: (connection.select(sql, binds), False)


@pytest.mark.parametrize(
    ("asked", "pointer", "said"),
    [
        ({"field": "nme", "operator": "is", "value": 1}, "/field", "has no field 'nme'"),
        ({"field": "text", "operator": "greater", "value": 1}, "/operator", "knows no 'greater', but is"),
        ({"field": "number", "operator": "is", "value": "twelve"}, "/value", "takes a number"),
        ({"field": "date", "operator": "between", "value": ["2026-01-01"]}, "/value", "no list of two"),
        ({"and": [{"or": [{"field": "choice", "value": "gone"}]}]}, "/and/0/or/0/value", "takes one of 'new'"),
        ({"field": "text", "value": "a", "values": 1}, "", "no 'values' here"),
        ({"and": 3}, "/and", "takes a list"),
        ("x", "", "a condition is"),
        ({"field": "text", "operator": "contains"}, "/value", "no text"),
        ({"field": "date_time", "operator": "after", "value": "now+soon"}, "/value", "now+2h"),
    ],
)
def test_a_condition_that_cannot_be_understood_says_where_and_why(asked, pointer, said):
    with pytest.raises(BadCondition) as refused:
        read(TABLE, asked, Moment())
    assert refused.value.pointer == pointer
    assert said in refused.value.message


def test_conditions_have_limits():
    deep = {"field": "text", "value": "a"}
    for _ in range(12):
        deep = {"and": [deep]}
    for asked in (
        deep,
        [{"field": "text", "value": "a"}] * 101,
        {"field": "text", "operator": "in", "value": ["a"] * 1001},
    ):
        with pytest.raises(BadCondition):
            read(TABLE, asked, Moment())


def test_operators_have_many_names():
    for word, operator in (
        ("is not", "is_not"),
        ("!=", "is_not"),
        ("Does Not Contain", "not_contains"),
        ("Is Blank", "is_blank"),
    ):
        found = read(TABLE, {"field": "text", "operator": word, "value": "a"}, Moment())
        assert isinstance(found, Term)
        assert found.operator == operator
    assert read(TABLE, {"field": "text", "operator": "is", "value": ""}, Moment()).operator == "is_blank"
    assert isinstance(read(TABLE, [], Moment()), Group)
