"""Records: what they take, how they are found, and what holds between them."""

import asyncio

import pytest
from tests.commands import FunctionCommand
from tests.features.tables.tables import field, fill, table, values

from headway.errors import InvalidInput, InvalidRecord, RecordInUse, RecordNotFound, VersionMismatch
from headway.features.tables import changes
from headway.features.tables import store as storage
from headway.features.tables.model import RecordChange
from headway.protocol.tables import RecordPatch
from headway.runs.idempotency import request_key


@pytest.mark.parametrize(
    ("of", "given", "kept"),
    [
        ("text", " a ", " a "), ("text", 12, "12"), ("text", True, "true"),
        ("number", "1.50", 1.5), ("number", 0.1 + 0.2, 0.3), ("number", "1e3", 1000), ("number", -0.0, 0),
        ("number", 999_999_999_999_999, 999_999_999_999_999), ("number", "12345678901.23456789", 12345678901.2346),
        ("date", " 2024-02-29 ", "2024-02-29"),
        ("date_time", "2026-12-01T02:00:00+01:00", "2026-12-01T01:00:00.000Z"),
        ("date_time", "2026-12-01 02:00", "2026-12-01T02:00:00.000Z"),
        ("boolean", "Yes", True), ("boolean", 0, False),
        ("choice", " OPEN ", "open"), ("multi_choice", "closed; Open", ["open", "closed"]),
        ("email", " Ann@Example.COM ", "ann@example.com"),
    ],
)  # fmt: skip
async def test_a_value_is_kept_in_its_normal_form(harness, of, given, kept):
    choices = ["open", "closed"] if "choice" in of else []
    await table(harness, field("V", of, choices=choices))
    (record,) = await fill(harness, {"V": given})
    assert record.values == {"field_1": kept}
    assert await values(harness) == [{"V": kept}]


@pytest.mark.parametrize(
    ("of", "given", "said"),
    [
        ("text", {"a": 1}, "takes one value"), ("text", "\0", "cannot be stored"), ("text", "x" * 100_001, "100,001 characters"),
        ("number", "1,000", "without separators"), ("number", "12 €", "takes a number"), ("number", "nan", "takes a number"),
        ("number", 10**15, "up to 15 digits"), ("number", "9999999999999999", "up to 15 digits"), ("number", True, "takes a number"),
        ("date", "2026-02-29", "takes a date"), ("date", "01.02.2026", "takes a date"),
        ("date_time", "soon", "takes a time"), ("date_time", "9999-12-31T23:59:59-10:00", "takes a time"),
        ("boolean", "maybe", "true or false"), ("choice", "gone", "one of 'open', 'closed'"),
        ("multi_choice", ["open", "gone"], "one of"), ("email", "ann@", "an e-mail address"),
        ("email", "a@b.c\r\nBcc: x@y.z", "an e-mail address"), ("text", ["a"], "takes one value"),
    ],
)  # fmt: skip
async def test_what_is_no_value_is_refused_with_the_name_of_its_field(harness, of, given, said):
    choices = ["open", "closed"] if "choice" in of else []
    await table(harness, field("Some field", of, choices=choices))
    with pytest.raises(InvalidRecord) as refused:
        await fill(harness, {}, {"Some field": given})
    (error,) = refused.value.errors
    assert error["pointer"] == "/records/1/values/Some field"
    assert said in error["message"]
    assert "Some field" in str(refused.value)
    assert await values(harness) == []


async def test_a_blank_is_null_or_empty_and_a_default_fills_what_is_not_said(harness):
    await table(harness, field("A", default="x"), field("B", "number"), field("C", required=True))
    await fill(harness, {"C": "c"}, {"A": None, "C": "c"}, {"field_1": "", "B": "", "C": "c"})
    assert await values(harness) == [{"A": "x", "C": "c"}, {"C": "c"}, {"C": "c"}]
    with pytest.raises(InvalidRecord, match="C is required"):
        await fill(harness, {"A": "a"})
    with pytest.raises(InvalidRecord, match="it has 'A', 'B', 'C'"):
        await fill(harness, {"D": "a", "C": "c"})


async def test_a_batch_is_whole_or_nothing(harness):
    await table(harness, field("Key", unique=True))
    with pytest.raises(InvalidRecord) as refused:
        await fill(harness, {"Key": "a"}, {"Key": "b"}, {"Key": "a"})
    assert refused.value.errors[0]["pointer"] == "/records/2/values/Key"
    assert (await harness.tables.get("things")).count == 0
    first, second = await fill(harness, {"Key": "a"}, {"Key": "b"})
    with pytest.raises(RecordNotFound):
        await update(harness, (first.id, {"Key": "c"}), ("gone", {"Key": "d"}))
    with pytest.raises(InvalidRecord, match="unique"):
        await update(harness, (first.id, {"Key": "c"}), (second.id, {"Key": "c"}))
    assert await values(harness) == [{"Key": "a"}, {"Key": "b"}]


async def update(harness, *changes, version=None):
    patches = [RecordPatch(id=record_id, values=given, version=version) for record_id, given in changes]
    return (await harness.records.update("things", patches)).records


async def test_records_of_one_batch_may_exchange_unique_values(harness):
    await table(harness, field("Key", unique=True))
    first, second = await fill(harness, {"Key": "a"}, {"Key": "b"})
    await update(harness, (first.id, {"Key": "b"}), (second.id, {"Key": "a"}))
    assert await values(harness) == [{"Key": "b"}, {"Key": "a"}]


async def test_who_keeps_a_unique_value_is_not_robbed_of_it(harness):
    await table(harness, field("Key", unique=True), field("Note"))
    first, second = await fill(harness, {"Key": "a"}, {"Key": "b"})
    with pytest.raises(InvalidRecord) as refused:
        await update(harness, (first.id, {"Key": "b"}), (second.id, {"Note": "n"}))
    assert [error["pointer"] for error in refused.value.errors] == ["/records/0/values/Key"]


async def test_long_texts_that_begin_alike_are_told_apart(harness):
    await table(harness, field("Key", unique=True))
    await fill(harness, {"Key": "x" * 500 + "a"}, {"Key": "x" * 500 + "b"})
    with pytest.raises(InvalidRecord):
        await fill(harness, {"Key": "x" * 500 + "b"})


async def test_an_update_leaves_other_fields_and_raises_the_version_if_something_changes(harness):
    await table(harness, field("A"), field("B"))
    (record,) = await fill(harness, {"A": "a", "B": "b"})
    (after,) = await update(harness, (record.id, {"A": None}), version=1)
    assert (after.version, after.values) == (2, {"field_2": "b"})
    (same,) = await update(harness, (record.id, {"B": "b"}))
    assert same.version == 2
    with pytest.raises(VersionMismatch):
        await update(harness, (record.id, {"A": "x"}), version=1)
    with pytest.raises(VersionMismatch):
        await harness.records.delete("things", [record.id], version=1)


async def test_upsert_changes_what_is_there_and_adds_what_is_not(harness):
    await table(harness, field("Key", "email", unique=True), field("N", "number", default=1))
    await fill(harness, {"Key": "a@x.org", "N": 5})
    done = await harness.records.upsert("things", "Key", [{"Key": "B@x.org"}, {"Key": "A@X.ORG", "N": 7}])
    assert (done.created, done.updated) == (1, 1)
    assert await values(harness) == [{"Key": "a@x.org", "N": 7}, {"Key": "b@x.org", "N": 1}]
    with pytest.raises(InvalidRecord, match="earlier one"):
        await harness.records.upsert("things", "Key", [{"Key": "a@x.org"}, {"Key": "a@x.org"}])
    with pytest.raises(InvalidInput, match="not a unique field"):
        await harness.records.upsert("things", "N", [{"Key": "a@x.org"}])


async def test_a_repeated_request_changes_nothing_more(harness):
    await table(harness)
    keys = [request_key("k", "POST", "/x", b"{}", 60_000) for _ in range(2)]
    first, again = [await harness.records.insert("things", [{"Name": "a"}], key) for key in keys]
    assert [record.id for record in first.records] == [record.id for record in again.records]
    assert (await harness.tables.get("things")).count == 1


async def test_connections_name_records_that_are_there(harness):
    await table(harness, name="customers")
    (ann,) = (await harness.records.insert("customers", [{"Name": "Ann"}])).records
    await table(
        harness,
        field("Customer", "connection", table="customers"),
        field("All", "connection", table="customers", multiple=True),
    )
    await fill(harness, {"Customer": ann.id, "All": [ann.id, ann.id]})
    assert (await values(harness))[0]["All"] == [ann.id]
    with pytest.raises(InvalidRecord, match="no record of its table"):
        await fill(harness, {"Customer": "nobody"})
    with pytest.raises(InvalidRecord, match="no record of its table"):
        await fill(harness, {"All": [ann.id, "nobody"]})


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("on_delete", ["clear", "cascade", "restrict"])
async def test_what_names_a_deleted_record_does_what_its_field_says(harness, on_delete, many):
    await table(harness, name="customers")
    ann, bob = (await harness.records.insert("customers", [{"Name": "Ann"}, {"Name": "Bob"}])).records
    await table(harness, field("N"), field("C", "connection", table="customers", multiple=many, on_delete=on_delete))
    both = [ann.id, bob.id] if many else ann.id
    await fill(harness, {"N": "1", "C": both}, {"N": "2", "C": [bob.id] if many else bob.id}, {"N": "3"})
    if on_delete == "restrict":
        with pytest.raises(RecordInUse) as refused:
            await harness.records.delete("customers", [ann.id])
        assert ann.id in refused.value.errors[0]["message"]
        assert (await harness.tables.get("customers")).count == 2
        return
    assert await harness.records.delete("customers", [ann.id]) == 1
    left = {each["N"]: each.get("C") for each in await values(harness)}
    mine = {} if on_delete == "cascade" else {"1": [bob.id] if many else None}
    assert left == {**mine, "2": [bob.id] if many else bob.id, "3": None}


async def test_a_cascade_goes_round_a_circle_and_ends(harness):
    await table(harness, field("N"))
    await harness.tables.add_field("things", field("Next", "connection", table="things", on_delete="cascade"))
    first, second = await fill(harness, {"N": "1"}, {"N": "2"})
    await update(harness, (first.id, {"Next": second.id}), (second.id, {"Next": first.id}))
    await fill(harness, {"N": "3"}, {"N": "4", "Next": first.id})
    await harness.records.delete("things", [first.id])
    assert await values(harness) == [{"N": "3"}]


async def test_a_required_connection_keeps_what_it_names(harness):
    await table(harness, name="customers")
    (ann,) = (await harness.records.insert("customers", [{"Name": "Ann"}])).records
    await table(harness, field("C", "connection", table="customers", required=True))
    await fill(harness, {"C": ann.id})
    with pytest.raises(RecordInUse):
        await harness.records.delete("customers", [ann.id])


async def test_pages_go_on_where_the_last_one_ended(harness):
    await table(harness, field("N", "number", indexed=True), field("Odd", "boolean"))
    for first in range(0, 2000, 1000):
        await fill(harness, *({"N": number % 10, "Odd": number % 2 == 1} for number in range(first, first + 1000)))
    found = await harness.tables.get("things")
    condition = harness.records.condition(
        found, [{"field": "Odd", "value": True}, {"field": "N", "operator": ">", "value": 6}]
    )
    for order in ("", "created_at desc", "N", "N desc"):
        ids, after = [], ""
        while True:
            records, after = await harness.records.page(found, condition, after, 70, order)
            ids += [record.id for record in records]
            if not after:
                break
        assert len(ids) == len(set(ids)) == 400
    assert await harness.records.count(found, condition) == 400
    assert await harness.records.count(found) == 2000
    assert len(await harness.records.at(found, condition, 390, 50)) == 10
    with pytest.raises(InvalidInput, match="order_by"):
        await harness.records.page(found, order_by="Odd")
    with pytest.raises(InvalidInput) as refused:
        harness.records.condition(found, {"field": "Odd", "operator": "contains", "value": "x"})
    assert refused.value.errors[0]["pointer"] == "/filter/operator"


async def test_writers_of_one_record_decide_one_after_the_other(disk):
    await table(disk, field("N", "number"))
    (record,) = await fill(disk, {"N": 0})

    async def raise_by_one():
        def work(uow):
            locked = storage.lock_table(uow, 1, "things")
            before = storage.load_records(uow, locked, [record.id])[record.id]
            change = RecordChange(record.id, {"field_1": before.values["field_1"] + 1}, before)
            assert not changes.save(uow, locked, [change])

        await disk.store.write(FunctionCommand(work))

    await asyncio.gather(*(raise_by_one() for _ in range(50)))
    assert await values(disk) == [{"N": 50}]


async def test_some_of_many_can_be_refused_and_the_others_are_changed(harness):
    await table(harness, field("N", "number"), field("K", unique=True))
    records = await fill(harness, *({"N": number, "K": str(number)} for number in range(4)))
    ids = [record.id for record in records]

    def work(uow):
        locked = storage.lock_table(uow, 1, "things")
        found = storage.load_records(uow, locked, [*ids, "gone"]).values()
        updates = [RecordChange(each.id, {"field_1": 7, "field_2": "0"}, each) for each in found]
        return changes.save(uow, locked, updates)

    violations = await harness.store.write(FunctionCommand(work))
    assert {record_id: why[0].code for record_id, why in violations.items()} == dict.fromkeys(ids[1:], "taken")
    assert await values(harness) == [{"N": 7, "K": "0"}, *({"N": number, "K": str(number)} for number in range(1, 4))]


async def test_a_value_that_one_record_of_a_batch_gives_up_is_free_unless_that_record_is_refused(harness):
    await table(harness, field("A", unique=True), field("B", unique=True))
    records = await fill(harness, *({"A": each, "B": each} for each in "xyz"))

    async def saved(*given):
        def work(uow):
            locked = storage.lock_table(uow, 1, "things")
            found = storage.load_records(uow, locked, [each.id for each in records])
            updates = [
                RecordChange(each.id, {"field_1": a, "field_2": b}, found[each.id])
                for each, (a, b) in zip(records, given, strict=False)
            ]
            return [[each.id for each in records].index(refused) for refused in changes.save(uow, locked, updates)]

        return await harness.store.write(FunctionCommand(work))

    assert await saved(("w", "z"), ("x", "y")) == [0, 1], "the first keeps its x, since its z is another's"
    assert await saved(("w", "x"), ("x", "y")) == []
    assert [(each["A"], each["B"]) for each in await values(harness)] == [("w", "x"), ("x", "y"), ("z", "z")]


async def test_a_patch_gives_many_the_same_values_in_one_statement(harness):
    await table(harness, field("N", "number"), field("S"), field("L", "multi_choice", choices=["a", "b"]))
    records = await fill(harness, *({"N": number, "S": "x"} for number in range(10)))
    found = await harness.tables.get("things")
    condition = harness.records.condition(found, {"field": "N", "operator": ">=", "value": 5})
    matches = await harness.store.read.ask(
        lambda database, dialect: storage.read_matches(
            database, dialect, found, condition, records[0].id, records[9].id, 7
        )
    )

    def work(uow):
        locked = storage.lock_table(uow, 1, "things")
        span = storage.find_span(uow, locked, records[0].id, matches.edge, 7)
        given = {"field_2": None, "field_3": ["a"]}
        return span, changes.set_values(uow, locked, span, given, matches.versions)

    span, (fit, _) = await harness.store.write(FunctionCommand(work))
    assert (span.edge, span.count, fit) == (records[7].id, 7, 3)
    assert [each.get("L") for each in await values(harness)] == [None] * 5 + [["a"]] * 3 + [None] * 2
    assert [each.get("S") for each in await values(harness)] == ["x"] * 5 + [None] * 3 + ["x"] * 2
