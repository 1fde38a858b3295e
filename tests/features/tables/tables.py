"""Creation of tables and records, and their values."""

from headway.protocol import tables as wire


def field(name, of="text", **more):
    return wire.FieldSpec(**{"name": name, "type": of, **more})


async def table(harness, *fields, name="things"):
    return await harness.tables.create(wire.CreateTable(name=name, fields=list(fields) or [field("Name")]))


async def fill(harness, *records, name="things"):
    return (await harness.records.insert(name, list(records))).records


async def values(harness, name="things"):
    found = await harness.tables.get(name)
    records, after = await harness.records.page(found, size=1000)
    assert after == ""
    return [
        {each.name: record.values[each.id] for each in found.fields if each.id in record.values} for record in records
    ]
