"""Definitions of tables, and what becomes of records when they change."""

import pytest
from tests.features.tables.tables import field, fill, table, values

from headway.errors import Conflict, FieldNotFound, InvalidInput, TableInUse, TableNotFound, VersionMismatch
from headway.features.tables.definitions import TableContext, Tables, sweep
from headway.features.tables.records import Records
from headway.protocol import tables as wire


async def test_a_table_is_found_by_its_id_and_by_its_name(harness):
    made = await table(harness, field("Name", required=True), field("Age", "number"))
    assert [each.id for each in made.fields] == ["field_1", "field_2"]
    for name in (made.id, made.id.replace("-", "").upper(), "things"):
        assert await harness.tables.get(name) == made
    assert await harness.tables.list() == [made]
    with pytest.raises(TableNotFound):
        await harness.tables.get("nothing")


async def test_a_table_that_is_renamed_keeps_its_records(harness):
    await table(harness)
    await fill(harness, {"Name": "a"})
    after = await harness.tables.patch("things", wire.PatchTable(name="others", description="d"), version=1)
    assert (after.name, after.description, after.version) == ("others", "d", 2)
    assert await values(harness, "others") == [{"Name": "a"}]
    with pytest.raises(VersionMismatch):
        await harness.tables.patch("others", wire.PatchTable(name="x"), version=1)


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"name": " x"}, "/fields/0/name"),
        ({"name": "field_9"}, "/fields/0/name"),
        ({"name": "c", "type": "choice"}, "/fields/0/choices"),
        ({"name": "c", "type": "multi_choice", "choices": ["a;b"]}, "/fields/0/choices"),
        ({"name": "c", "type": "choice", "choices": ["a", "A"]}, "/fields/0/choices"),
        ({"name": "c", "choices": ["a"]}, "/fields/0/choices"),
        ({"name": "c", "type": "connection"}, "/fields/0/table"),
        ({"name": "c", "type": "connection", "table": "gone"}, "/fields/0/table"),
        ({"name": "c", "multiple": True}, "/fields/0/multiple"),
        ({"name": "c", "type": "boolean", "unique": True}, "/fields/0/unique"),
        ({"name": "c", "type": "number", "default": "x"}, "/fields/0/default"),
    ],
)
async def test_a_field_that_cannot_be_is_refused_with_its_place(harness, spec, pointer):
    with pytest.raises(InvalidInput) as refused:
        await table(harness, field(**spec))
    assert [error["pointer"] for error in refused.value.errors] == [pointer]
    assert await harness.tables.list() == []


async def test_two_tables_or_fields_of_one_name_are_refused(harness):
    await table(harness)
    with pytest.raises(Conflict):
        await table(harness)
    with pytest.raises(InvalidInput):
        await harness.tables.add_field("things", field("name"))


async def test_a_field_that_is_renamed_keeps_its_values(harness):
    await table(harness, field("Name"), field("Old"))
    await fill(harness, {"Name": "a", "Old": "b"})
    await harness.tables.patch_field("things", "Old", wire.PatchField(name="New"))
    assert await values(harness) == [{"Name": "a", "New": "b"}]


async def test_a_deleted_field_is_gone_and_its_id_is_not_given_again(harness):
    await table(harness, field("Name"), field("Key", unique=True))
    await fill(harness, {"Name": "a", "Key": "1"})
    await harness.tables.delete_field("things", "Key")
    _, made = await harness.tables.add_field("things", field("Key", unique=True))
    assert made.id == "field_3"
    assert await values(harness) == [{"Name": "a"}]
    await fill(harness, {"Name": "b", "Key": "1"})
    await sweep(harness.store)
    assert harness.sql("SELECT count(*) FROM record_values") == [(1,)]
    with pytest.raises(FieldNotFound):
        await harness.tables.delete_field("things", "field_2")


async def test_a_change_of_type_converts_what_records_have(harness):
    await table(harness, field("V"))
    await fill(harness, {"V": "12.50"}, {"V": "-3"}, {})
    _, after = await harness.tables.patch_field("things", "V", wire.PatchField(type="number", indexed=True))
    assert after.indexed
    assert await values(harness) == [{"V": 12.5}, {"V": -3}, {}]
    found = await harness.tables.get("things")
    records, _ = await harness.records.page(found, order_by="V")
    assert [record.values.get("field_1") for record in records] == [-3, 12.5, None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "number"}, "takes a number"),
        ({"unique": True}, "same value"),
        ({"required": True}, "no value in"),
        ({"type": "choice", "choices": ["b"]}, "takes one of 'b'"),
    ],
)
async def test_a_change_that_records_do_not_fit_is_refused_and_changes_nothing(harness, change, said):
    await table(harness, field("V"))
    await fill(harness, {"V": "a"}, {"V": "a"}, {})
    before = await harness.tables.get("things")
    with pytest.raises(TableInUse, match=said):
        await harness.tables.patch_field("things", "V", wire.PatchField(**change))
    assert await harness.tables.get("things") == before
    assert await values(harness) == [{"V": "a"}, {"V": "a"}, {}]


async def test_a_choice_in_use_stays_and_others_may_come(harness):
    await table(harness, field("V", "choice", choices=["a", "b"]))
    await fill(harness, {"V": "a"})
    await harness.tables.patch_field("things", "V", wire.PatchField(choices=["c", "a", "b"]))
    await harness.tables.patch_field("things", "V", wire.PatchField(choices=["a", "c"]))
    with pytest.raises(TableInUse):
        await harness.tables.patch_field("things", "V", wire.PatchField(choices=["c"]))


async def test_a_required_field_cannot_be_added_to_records_that_lack_it(harness):
    await table(harness)
    await harness.tables.add_field("things", field("First", required=True))
    await fill(harness, {"First": "x"})
    with pytest.raises(TableInUse):
        await harness.tables.add_field("things", field("Second", required=True))


async def test_a_deleted_table_is_gone_with_its_records_whatever_there_were(harness):
    await table(harness, field("Key", indexed=True))
    for first in range(0, 3000, 1000):
        await fill(harness, *({"Key": str(number)} for number in range(first, first + 1000)))
    await harness.tables.delete("things")
    assert await harness.tables.list() == []
    again = await table(harness, field("Key", indexed=True))
    await sweep(harness.store)
    for name in ("records", "record_values", "table_remains"):
        assert harness.sql(f"SELECT count(*) FROM {name}") == [(0,)]
    assert again.count == 0


async def test_a_table_that_others_connect_to_is_not_deleted(harness):
    await table(harness, name="customers")
    await table(harness, field("Customer", "connection", table="customers"), name="orders")
    with pytest.raises(TableInUse, match="orders"):
        await harness.tables.delete("customers")
    await harness.tables.delete("orders")
    await harness.tables.delete("customers")


async def test_organisations_do_not_see_each_others_tables(harness):
    made = await table(harness)
    context = TableContext(harness.store, harness.service.ids, organisation=2)
    others = Tables(context)
    records = Records(context, others)
    assert await others.list() == []
    for name in (made.id, "things"):
        for act in (
            others.get(name), others.delete(name), others.add_field(name, field("x")),
            records.insert(name, [{"Name": "a"}]), records.delete(name, ["a"]),
        ):  # fmt: skip
            with pytest.raises(TableNotFound):
                await act
    assert (await others.create(wire.CreateTable(name="things"))).id != made.id
