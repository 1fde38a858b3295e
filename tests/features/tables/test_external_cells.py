"""Rows of other people's databases: every type of number, and cells that hold what their field does not take."""

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text
from tests.features.tables.databases import external

from headway.errors import ExternalRefused, RecordNotFound
from headway.features.tables.external.database import ExternalDatabases
from headway.protocol import tables as wire

NUMBERS = {
    "sqlite": "INT;INTEGER;TINYINT;SMALLINT;MEDIUMINT;BIGINT;UNSIGNED BIG INT;INT2;INT8;REAL;DOUBLE;DOUBLE PRECISION;FLOAT;NUMERIC;"
    "DECIMAL(10,5);NUMBER(10,2);MONEY",
    "postgresql": "smallint;integer;bigint;numeric;numeric(10,4);real;double precision;float(10)",
    "mysql": "tinyint;smallint;mediumint;int;int(1);bigint;bigint unsigned;decimal(10,4);numeric(8,3);float;double;double precision;real;year",
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def kind(request):
    return request.param


@pytest.fixture
def database(kind, tmp_path, request):
    """The URL of a database, and what executes statements in it."""
    url = {
        "sqlite": lambda: f"sqlite:///{tmp_path / 'odd.db'}",
        "postgresql": lambda: request.getfixturevalue("postgres_url"),
        "mysql": lambda: request.getfixturevalue("mariadb"),
    }[kind]()
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))

    def run(*statements, **binds):
        with engine.begin() as connection:
            for statement in ("DROP TABLE IF EXISTS odd", *statements):
                connection.execute(text(statement), binds if ":" in statement else {})

    yield url, run
    engine.dispose()


async def rows(harness, asked=None, size=3):
    table = await harness.tables.get("people")
    condition = harness.records.condition(table, asked)
    found, after = [], ""
    while True:
        page, after = await harness.records.page(table, condition, after, size)
        found += page
        assert len(found) < 100, "it goes in circles"
        if not after:
            assert len(found) == await harness.records.count(table, condition)
            return table, found


async def ids(harness, field, operator, value=None):
    _, found = await rows(
        harness, {"field": field, "operator": operator, **({} if value is None else {"value": value})}
    )
    return [record.id for record in found]


def shown(table, record):
    return {field.name: record.shown(field.id) for field in table.fields}


def invalid(table, record):
    return {table.find(field).name: each.message for field, each in (record.invalid or {}).items()}


async def test_every_type_of_number_is_a_number_field(near, kind, database):
    url, run = database
    kinds = NUMBERS[kind].split(";")
    columns = [f"n{index}" for index in range(len(kinds))]
    run(
        f"CREATE TABLE odd (id INTEGER PRIMARY KEY, {', '.join(map(' '.join, zip(columns, kinds, strict=True)))})",
        f"INSERT INTO odd (id, {', '.join(columns)}) VALUES (1, {', '.join('5' for _ in columns)})",
    )
    table = await external(near, url, "odd")
    assert {field.name: str(field.type) for field in table.fields} == dict.fromkeys(["id", *columns], "number")
    assert table.external.left_out == {}
    _, (record,) = await rows(near)
    year = {"n13": 2005} if kind == "mysql" else {}
    assert shown(table, record) == {"id": 1, **dict.fromkeys(columns, 5), **year}
    change = wire.RecordPatch(id="1", values={name: 7 for name in columns if name not in year})
    (after,) = (await near.records.update("people", [change])).records
    assert {after.shown(table.find(name).id) for name in change.values} == {7}
    assert await ids(near, columns[0], ">", 6) == ["1"]


async def test_doubles_are_written_and_compared_as_they_are(near, kind, database):
    url, run = database
    run("CREATE TABLE odd (id INTEGER PRIMARY KEY, rate DOUBLE PRECISION)", "INSERT INTO odd VALUES (1, 0.1)")
    await external(near, url, "odd")
    await near.records.insert("people", [{"id": 2, "rate": 2.5}])
    assert await ids(near, "rate", "is", 0.1) == ["1"]
    assert await ids(near, "rate", "between", [2.4, 2.6]) == ["2"]


LEFT_OUT = {
    "sqlite": ("t TIME, j JSON", {"t": "TIME", "j": "JSON"}),
    "postgresql": ("j jsonb, a integer[], t time, p point", {"j": "JSONB", "a": "ARRAY", "t": "TIME", "p": "of an unknown name"}),
    "mysql": ("t time, g geometry, b bit(8)", {"t": "TIME", "g": "of an unknown name", "b": "BIT"}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Did not recognize type")
async def test_columns_that_no_field_can_be_are_named(near, kind, database, caplog):
    url, run = database
    columns, types = LEFT_OUT[kind]
    run(f"CREATE TABLE odd (id INTEGER PRIMARY KEY, {columns}, name VARCHAR(20))")
    table = await external(near, url, "odd")
    assert [field.name for field in table.fields] == ["id", "name"]
    why = {name: f"no field takes values of the type {type_}" for name, type_ in types.items()}
    assert {name: said.replace("JSONVARIANT", "JSON") for name, said in table.external.left_out.items()} == why
    assert all(f"column={name!r}" in caplog.text for name in types)
    assert (await near.tables.refresh("people")).external.left_out == table.external.left_out


async def test_bytes_are_read_compared_and_written_in_hexadecimal_digits(near, kind, database):
    url, run = database
    octets = {"sqlite": "BLOB", "postgresql": "bytea", "mysql": "VARBINARY(60000)"}[kind]
    key = {"sqlite": "BLOB", "postgresql": "bytea", "mysql": "BINARY(2)"}[kind]
    run(f"CREATE TABLE odd (id {key} PRIMARY KEY, content {octets})")
    table = await external(near, url, "odd")
    await near.records.insert("people", [{"id": f"00f{n}", "content": "ff" * n} for n in range(5)])
    _, found = await rows(near)
    assert [(record.id, record.values.get("field_2", "")) for record in found] == [
        (f"00f{n}", "ff" * n) for n in range(5)
    ]
    assert (await near.records.get("people", "00f3"))[1].values["field_2"] == "ffffff"
    assert await ids(near, "content", "is", "ffff") == ["00f2"]
    with pytest.raises(ExternalRefused, match="holds bytes"):
        await ids(near, "content", "contains", "ff")
    with pytest.raises(ExternalRefused, match="hexadecimal"):
        await near.records.insert("people", [{"id": "00aa", "content": "abc"}])
    with pytest.raises(RecordNotFound):
        await near.records.get("people", "nobody")
    await near.records.insert("people", [{"id": "01ff", "content": "ab" * 40_000}])
    record = (await near.records.get("people", "01ff"))[1]
    assert record.values["field_2"] == "ab" * 40_000
    if kind == "mysql":
        return
    run(
        f"CREATE TABLE odd (id {key} PRIMARY KEY, content {octets})",
        "INSERT INTO odd VALUES (:id, :content)",
        id=b"\1",
        content=b"x" * 60_000,
    )
    record = (await near.records.get("people", "01"))[1]
    assert "bytes; the first of them are shown" in invalid(table, record)["content"]


SQLITE_ODD = {
    "age REAL": ("abc", "abc", "is 'abc'; it takes a number such as 12.5, without separators of thousands"),
    "age NUMERIC": ("1,5", "1,5", "is '1,5'; it takes a number such as 12.5, without separators of thousands"),
    "age INT": (b"\0\xff", "0x00ff", "is 0x00ff, which are bytes"),
    "age DOUBLE": (float("inf"), "inf", "is inf; it takes a number"),
    "age DATETIME": (1_700_000_000, 1_700_000_000, "is 1700000000; it takes a time such as 2026-12-01T02:00:00Z"),
    "age TIMESTAMP": ("yesterday", "yesterday", "is 'yesterday'; it takes a time such as 2026-12-01T02:00:00Z"),
    "age DATE": ("2026-13-01", "2026-13-01", "is '2026-13-01'; it takes a date such as 2026-12-01"),
    "age BOOLEAN": (2, 2, "is 2; it takes true or false"),
    "age VARCHAR(20)": (b"caf\xe9", "0x636166e9", "is 0x636166e9, which are bytes"),
    "age BLOB": ("text", "text", "is 'text'; it takes bytes"),
}  # fmt: skip


@pytest.mark.parametrize("column", list(SQLITE_ODD))
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_one_odd_cell_is_shown_as_it_is_and_the_rest_stays_readable(near, database, column):
    url, run = database
    odd, plain, why = SQLITE_ODD[column]
    run(
        f"CREATE TABLE odd (id INTEGER PRIMARY KEY, name TEXT, {column})",
        "INSERT INTO odd (id, name, age) VALUES (1, 'before', NULL), (2, 'odd', :odd), (3, 'after', '')",
        odd=odd,
    )
    await external(near, url, "odd")
    table, found = await rows(near)
    assert [shown(table, record) for record in found] == [
        {"id": 1, "name": "before", "age": None}, {"id": 2, "name": "odd", "age": plain}, {"id": 3, "name": "after", "age": None},
    ]  # fmt: skip
    assert [invalid(table, record) for record in found] == [{}, {"age": why}, {}]
    assert await ids(near, "age", "is blank") == ["1", "3"]


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_an_odd_cell_is_neither_more_nor_less_than_a_value_nor_is_it_one(near, database):
    url, run = database
    run(
        "CREATE TABLE odd (id INTEGER PRIMARY KEY, n REAL, at DATETIME, day DATE)",
        "INSERT INTO odd VALUES (1, 5, '2026-01-01 08:00:00', '2026-01-01'), (2, 'abc', 1700000000, 20260101), (3, '', '', ''),"
        " (4, 7, '2026-01-01T10:00:00.500+02:00', '2026-01-02 00:00:00')",
    )
    await external(near, url, "odd")
    table, found = await rows(near)
    assert [invalid(table, record).keys() for record in found] == [set(), {"n", "at", "day"}, set(), set()]
    assert found[3].values == {
        "field_1": 4,
        "field_2": 7,
        "field_3": "2026-01-01T08:00:00.500Z",
        "field_4": "2026-01-02",
    }
    assert await ids(near, "n", ">", 1) == ["1", "4"]
    assert await ids(near, "n", "<", 100) == ["1", "4"]
    assert await ids(near, "n", "is not", 5) == ["2", "3", "4"]
    assert await ids(near, "at", "<", "2027-01-01T00:00:00Z") == ["1", "4"]
    assert await ids(near, "at", "is", "2026-01-01T09:00:00+01:00") == ["1"]
    assert await ids(near, "at", ">", "2026-01-01T08:00:00Z") == ["4"]
    assert await ids(near, "day", "any of", ["2026-01-02", "2026-01-01"]) == ["1", "4"]


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_a_column_of_a_type_that_sqlite_does_not_know_is_a_text(near, database):
    url, run = database
    run(
        "CREATE TABLE odd (id INTEGER PRIMARY KEY, a STRING, b, c GEOGRAPHY(3))",
        "INSERT INTO odd VALUES (1, 'x', 5, '12'), (2, '', x'00ff', 1.5)",
    )
    await external(near, url, "odd")
    table, found = await rows(near)
    assert [str(field.type) for field in table.fields] == ["number", "text", "text", "text"]
    assert [shown(table, record) for record in found] == [
        {"id": 1, "a": "x", "b": "5", "c": "12"}, {"id": 2, "a": None, "b": "0x00ff", "c": "1.5"},
    ]  # fmt: skip
    assert await ids(near, "b", "is", "5") == ["1"]
    assert await ids(near, "c", "starts with", "1.") == ["2"]


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_text_that_is_no_utf_8_is_shown_and_its_row_found(near, database):
    url, run = database
    run(
        "CREATE TABLE odd (id TEXT PRIMARY KEY, name TEXT)",
        "INSERT INTO odd VALUES (CAST(x'636166e9' AS TEXT), CAST(x'636166e9' AS TEXT)), ('z', 'fine')",
    )
    await external(near, url, "odd")
    table, found = await rows(near, size=1)
    assert [record.shown("field_2") for record in found] == ["caf\\xe9", "fine"]
    assert invalid(table, found[0])["name"] == "has bytes that are no UTF-8, shown as \\x.."
    assert (await near.records.get("people", found[0].id))[1] == found[0]


async def test_a_postgresql_database_without_an_encoding_is_read(near, postgres_cluster):
    name = postgres_cluster.query("SELECT 'ascii_' || pg_backend_pid()")[0][0]
    with psycopg.connect(postgres_cluster.url("postgres"), autocommit=True) as root:
        root.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(postgres_cluster.url(name), autocommit=True) as made:
            made.execute("CREATE TABLE odd (id varchar(20) PRIMARY KEY, name text)")
            made.execute(b"INSERT INTO odd VALUES ('a', 'plain'), ('b', 'caf\xc3\xa9'), ('c', 'caf\xe9')")
        await external(near, postgres_cluster.url(name), "odd")
        table, found = await rows(near, size=1)
        assert [record.shown("field_2") for record in found] == ["plain", "café", "caf\\xe9"]
        assert [list(invalid(table, record)) for record in found] == [[], [], ["name"]]
        assert await ids(near, "name", "is", "café") == ["b"]
    finally:
        near.service.part(ExternalDatabases).close()
        postgres_cluster.drop_database(name)


async def test_dates_and_numbers_that_python_does_not_reach_are_shown_as_the_database_has_them(near, kind, database):
    url, run = database
    made = {
        "sqlite": ("day DATE, at DATETIME, n DOUBLE", "'infinity', '0000-00-00 00:00:00', 9e999"),
        "postgresql": ("day date, at timestamptz, n double precision", "'infinity', '0044-03-15 12:00 BC', 'NaN'"),
        "mysql": ("day date, at datetime, n double", "'0000-00-00', '0000-00-00 00:00:00', 1e300"),
    }[kind]  # fmt: skip
    run(
        f"CREATE TABLE odd (id INTEGER PRIMARY KEY, {made[0]})",
        *(["SET sql_mode = ''"] if kind == "mysql" else []),
        f"INSERT INTO odd VALUES (1, {made[1]})",
        "INSERT INTO odd VALUES (2, '2026-01-01', '2026-01-01 00:00:00', 1)",
    )
    await external(near, url, "odd")
    table, (odd, fine) = await rows(near)
    assert {"day", "at"} <= invalid(table, odd).keys()
    assert str(odd.shown("field_2")) in ("infinity", "0000-00-00")
    assert str(odd.shown("field_3")).startswith("00")
    assert str(odd.shown("field_4")) in ("inf", "nan", "1e+300")
    assert len(fine.values) == 4
    assert await ids(near, "n", "between", [0, 5]) == ["2"]
    assert await ids(near, "at", "<", "2026-06-01T00:00:00Z") == (["1", "2"] if kind == "postgresql" else ["2"])


async def test_keys_that_are_empty_or_look_like_lists_are_read_page_by_page_and_changed(near, kind, database):
    url, run = database
    run(
        "CREATE TABLE odd (id VARCHAR(40) PRIMARY KEY, name VARCHAR(40))",
        """INSERT INTO odd VALUES ('', 'a'), ('[""]', 'b'), ('["x"]', 'c'), ('[oh', 'd'), ('zz', 'e')""",
    )
    await external(near, url, "odd")
    for size in (1, 2, 10):
        _, found = await rows(near, size=size)
        assert sorted(record.values["field_2"] for record in found) == list("abcde")
        assert len({record.id for record in found}) == 5
        assert all(record.id for record in found)
    for record in found:
        assert (await near.records.get("people", record.id))[1] == record
        patch = wire.RecordPatch(id=record.id, values={"name": record.values["field_2"] * 2})
        (after,) = (await near.records.update("people", [patch])).records
        assert (after.id, after.values["field_2"]) == (record.id, record.values["field_2"] * 2)
    assert await near.records.delete("people", [record.id for record in found]) == 5


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_keys_of_any_type_that_sqlite_lets_in_are_told_apart(near, database):
    url, run = database
    run(
        "CREATE TABLE odd (id DATE, part, name TEXT, PRIMARY KEY (id, part))",
        "INSERT INTO odd VALUES (20260101, 1, 'a'), ('2026-01-01', '1', 'b'), (NULL, 2.5, 'c'), ('', x'31', 'd'), ('x', '', 'e')",
    )
    await external(near, url, "odd")
    for size in (1, 2, 10):
        _, found = await rows(near, size=size)
        assert sorted(record.values["field_3"] for record in found) == list("abcde")
    assert len({record.id for record in found}) == 5
    for record in found:
        patch = wire.RecordPatch(id=record.id, values={"name": "z"})
        if "null" in record.id:
            with pytest.raises(ExternalRefused, match="no key"):
                await near.records.update("people", [patch])
        else:
            assert (await near.records.update("people", [patch])).records[0].id == record.id


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
async def test_a_domain_is_read_as_the_type_that_it_restricts(near, database):
    url, run = database
    run("DROP DOMAIN IF EXISTS price", "CREATE DOMAIN price AS numeric(10, 2) CHECK (VALUE >= 0)",
        "CREATE TABLE odd (id integer PRIMARY KEY, cost price)", "INSERT INTO odd VALUES (1, 2.5)")  # fmt: skip
    table = await external(near, url, "odd")
    assert str(table.find("cost").type) == "number"
    assert await ids(near, "cost", ">", 2) == ["1"]


@pytest.mark.parametrize("kind", ["mysql"], indirect=True)
async def test_what_mysql_makes_of_booleans_are_booleans_and_other_short_numbers_are_not(near, database):
    url, run = database
    run(
        "CREATE TABLE odd (id INTEGER PRIMARY KEY, a BOOLEAN, b BIT(1), c INT(1))",
        "INSERT INTO odd VALUES (1, 1, b'1', 7), (2, 2, b'0', 0)",
    )
    await external(near, url, "odd")
    table, found = await rows(near)
    assert [shown(table, record) for record in found] == [
        {"id": 1, "a": True, "b": True, "c": 7},
        {"id": 2, "a": 2, "b": False, "c": 0},
    ]
    assert invalid(table, found[1]) == {"a": "is 2; it takes true or false"}
    assert await ids(near, "b", "is", value=True) == ["1"]
    (after,) = (await near.records.update("people", [wire.RecordPatch(id="2", values={"a": False, "b": True})])).records
    assert (after.values["field_2"], after.values["field_3"]) == (False, True)
