"""The same values for many records: what is done for many at once leaves what is left if each is done for itself. Both stores."""

import random

import pytest
from tests.features.record_tasks.harness import RecordTaskHarness, allow, update
from tests.features.tables.tables import field, fill, table

from headway.errors import Conflict
from headway.features.record_tasks import executor as records
from headway.features.record_tasks import patch as patches
from headway.features.record_tasks import run as record_run
from headway.features.tables import store as storage
from headway.outbound.egress import EgressPolicy
from headway.protocol import tables as table_wire


@pytest.fixture
def record_harness(harness, monkeypatch):
    allow(harness, EgressPolicy([]))
    for module, name, value in (
        (records, "PATCH_SIZE_FIRST", 3), (patches, "PATCH_SIZE", 12), (patches, "PATCH_SIZE_MAX", 24),
        (storage, "RANGE_DELETE_MIN", 2),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    return RecordTaskHarness(harness)


def one_by_one(monkeypatch):
    monkeypatch.setattr(record_run.RecordRun, "uniform", False)


TEAMS = ["red", "blue", "green", "x" * 150, None]
COLOURS = ["a", "b", "c"]
FIELDS = [
    field("Note"), field("Team", indexed=True), field("Rank", "number", indexed=True),
    field("Tags", "multi_choice", choices=COLOURS, indexed=True), field("Code", unique=True),
    field("Owner", "connection", table="owners"), field("Guests", "connection", table="owners", multiple=True),
    field("Seen", "boolean", indexed=True),
]  # fmt: skip


async def twins(harness, chance, count):
    """Make two tables with the same records; return the ids of the owners that these name."""
    await table(harness, field("Name"), name="owners")
    owners = [made.id for made in await fill(harness, *({"Name": f"o{n}"} for n in range(3)), name="owners")]
    rows = [{**some(chance, owners), "Code": f"c{number}"} for number in range(count)]
    for name in ("many", "each"):
        await table(harness, *FIELDS, name=name)
        await fill(harness, *rows, name=name)
    return owners


def some(chance, owners):
    """Return values for some of the fields that are not unique, blanks among them."""
    return {
        "Note": chance.choice(["n", 'é"\\', None]), "Team": chance.choice(TEAMS), "Rank": chance.choice([-1, 0, 2.5, None]),
        "Tags": chance.sample(COLOURS, chance.randrange(3)), "Owner": chance.choice([*owners, None]),
        "Guests": chance.sample(owners, chance.randrange(3)), "Seen": chance.choice([True, False, None]),
    }  # fmt: skip


def left(harness, name):
    """Return what there is of a table: records in their order, and what the index has of each; without the ids."""
    ((number,),) = harness.sql("SELECT number FROM tables WHERE name = ?", name)
    rows = harness.sql(
        "SELECT id, version, created_at = updated_at FROM records WHERE table_number = ? ORDER BY id", number
    )
    order = {record_id: at for at, (record_id, _, _) in enumerate(rows)}
    kept = harness.sql("SELECT record_id, field, value, is_unique FROM record_values WHERE table_number = ?", number)
    index = sorted((order[record_id], *entry) for record_id, *entry in kept)
    return [(version, bool(same)) for _, version, same in rows], index


async def shown(harness, name):
    made = await harness.tables.get(name)
    found, after = await harness.records.page(made, size=1000)
    assert after == ""
    return [record.values for record in found]


@pytest.mark.parametrize("seed", range(12))
async def test_many_at_once_leave_what_one_by_one_leaves(record_harness, monkeypatch, seed):
    harness, chance = record_harness.harness, random.Random(seed)
    owners = await twins(harness, chance, 40)
    given = some(chance, owners)
    patch = {name: given[name] for name in chance.sample(sorted(given), chance.randint(1, 4))}
    if seed % 4 == 0:  # nothing that is indexed
        patch = {"Note": given["Note"]}
    if chance.random() < 0.3:
        patch["Code"] = None
    team = {"field": "Team", "operator": "is", "value": chance.choice(TEAMS[:4])}
    rank = {"field": "Rank", "operator": "at least", "value": 0}
    more = chance.choice([{}, {}, {"filter": team}, {"filter": rank}])
    for name in ("many", "each"):
        await record_harness.make(update(**patch), name=name, on=name, **more)
    harness.clock.advance(1_000)
    outcome = await record_harness.run("many")
    one_by_one(monkeypatch)
    assert await record_harness.run("each") == outcome
    assert await shown(harness, "many") == await shown(harness, "each")
    assert left(harness, "many") == left(harness, "each")
    assert harness.wrong() == []


@pytest.mark.parametrize("team", [True, False])
async def test_records_that_have_the_values_already_stay_as_they_are(record_harness, team):
    harness = record_harness.harness
    await table(harness, *FIELDS[:3], field("Part", "number"))
    halves = ({"Note": "ä", "Team": "blue", "Part": 2.5}, {"Note": "n", "Team": "red"})
    await fill(harness, *({**halves[(n + 1) % 2], "Rank": n} for n in range(50)))
    await record_harness.make(update(Note="ä", Part=2.5, **({"Team": "blue"} if team else {})))
    for _ in range(2):
        assert await record_harness.run() == {"total": 50, "done": 50, "failed": 0}
        assert [version for version, _ in left(harness, "things")[0]] == [2, 1] * 25


@pytest.mark.parametrize("given", [{"Code": "same"}, {"Owner": "01890000-0000-7000-8000-000000000000"}])
async def test_who_cannot_have_a_value_is_noted_and_the_others_have_it(record_harness, given):
    """A unique value is the first one's; a record that is not there can be named by none."""
    harness = record_harness.harness
    await twins(harness, random.Random(0), 30)
    await record_harness.make(update(**given), on="many")
    run = await record_harness.begin()
    failed = 29 if "Code" in given else 30
    assert await record_harness.execute(run) == {"total": 30, "done": 30, "failed": failed}
    assert len(await record_harness.errors(run)) == failed
    assert [version for version, _ in left(harness, "many")[0]] == [2] * (30 - failed) + [1] * failed
    assert harness.wrong() == []


async def test_a_field_may_become_unique_or_indexed_while_it_is_given_to_many(record_harness, monkeypatch):
    harness = record_harness.harness
    await table(harness, field("Note"), field("Code"))
    await fill(harness, *({"Note": f"n{n}"} for n in range(30)))
    await record_harness.make(update(Code="same"))
    patch = record_run.RecordRun.patch
    changes = iter([{"indexed": True}, {"indexed": False}])

    async def meddled(self, *more):
        if (change := next(changes, None)) is not None:
            await harness.tables.patch_field("things", "Code", table_wire.PatchField(**change))
        return await patch(self, *more)

    monkeypatch.setattr(record_run.RecordRun, "patch", meddled)
    assert await record_harness.run() == {"total": 30, "done": 30, "failed": 0}
    assert harness.wrong() == []


async def test_a_field_that_is_gone_in_the_middle_ends_the_run_in_words(record_harness, monkeypatch):
    harness = record_harness.harness
    await table(harness, field("Note"), field("Team", indexed=True))
    await fill(harness, *({"Note": f"n{n}"} for n in range(30)))
    await record_harness.make(update(Team="red"))
    patch = record_run.RecordRun.patch

    async def meddled(self, *more):
        if self.checkpoint.number == 1:
            await harness.tables.delete_field("things", "Team")
        return await patch(self, *more)

    monkeypatch.setattr(record_run.RecordRun, "patch", meddled)
    with pytest.raises(Conflict, match="'things' does not have the field field_2 any more"):
        await record_harness.run()
    assert [version for version, _ in left(harness, "things")[0]] == [2] * 3 + [1] * 27


async def test_many_are_looked_at_if_few_fit_and_fewer_if_they_are_large(record_harness, monkeypatch):
    harness = record_harness.harness
    await table(harness, field("Note"), field("N", "number"))
    await fill(harness, *({"Note": "x" * 1_000, "N": n} for n in range(100)))
    await record_harness.make(update(Note="y" * 1_000), filter={"field": "N", "operator": "at least", "value": 90})
    await record_harness.make(update(Note="z"), name="large", filter={"field": "N", "operator": "at least", "value": 0})
    looked = []
    patch = record_run.RecordRun.patch

    async def watched(self, limit):
        looked.append(limit)
        return await patch(self, limit)

    monkeypatch.setattr(record_run.RecordRun, "patch", watched)
    assert await record_harness.run() == {"total": 10, "done": 10, "failed": 0}
    assert looked == [3, 6, 12, 24, 24, 24, 24]
    looked.clear()
    monkeypatch.setattr(patches, "PATCH_BYTES", 5_000)
    assert await record_harness.run("large") == {"total": 100, "done": 100, "failed": 0}
    assert looked[:4] == [3, 6, 3, 6]


async def test_records_that_change_between_look_and_transaction_are_looked_at_again(record_harness, monkeypatch):
    harness = record_harness.harness
    await table(harness, field("N", "number"), field("Note"))
    made = await fill(harness, *({"N": number} for number in range(20)))
    await record_harness.make(update(Note="x"), filter={"field": "N", "operator": "at least", "value": 5})
    matches = record_run.RecordRun._matches
    changes = iter([{made[6].id: 0, made[4].id: 40}, {made[7].id: 70}])

    async def meddled(self, limit):
        found = await matches(self, limit)
        for record_id, number in next(changes, {}).items() if self.checkpoint.number == 1 else ():
            await harness.records.update("things", [table_wire.RecordPatch(id=record_id, values={"N": number})])
        return found

    monkeypatch.setattr(record_run.RecordRun, "_matches", meddled)
    assert await record_harness.run() == {"total": 15, "done": 15, "failed": 0}
    noted = [values["field_1"] for values in await shown(harness, "things") if values.get("field_2") == "x"]
    assert noted == [40, 5, 70, *range(8, 20)]


async def test_the_writer_carries_out_no_condition_of_a_user(disk):
    """It may take long, and everybody waits for the writer. Here it has a connection of its own."""
    allow(disk, EgressPolicy([]))
    record_harness = RecordTaskHarness(disk)
    await table(disk, field("Note"), field("Team", indexed=True))
    await fill(disk, *({"Note": f"n{n}", "Team": "red"} for n in range(40)))
    few = {"field": "Note", "operator": "contains", "value": "1"}
    await record_harness.make(update(Team="blue"), filter=few)
    await record_harness.make(update(Note="{{ record.Note }}!"), name="each", filter=few)
    asked = []
    for writer in disk.store.writers:

        def watched(sql, binds, select=writer._database.select):
            asked.append(sql)
            return select(sql, binds)

        writer._database.select = watched
    assert (await record_harness.run())["done"] == 13
    assert (await record_harness.run("each"))["done"] == 13
    assert not [sql for sql in asked if "instr" in sql or "strpos" in sql]
