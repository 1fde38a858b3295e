"""What the store keeps of keys and of the log: the check of everything finds what was tampered with, on both stores."""

import pytest
from msgspec.structs import replace

from headway.engine.access import Head, chained
from headway.model.access import EVERYBODY, AuditEvent, Origin
from headway.storage.access import append
from headway.wire.access import CreateKey, CreateUser

TAMPERED = {
    "UPDATE audit_events SET actor = 'eve' WHERE number = 2": "line 2: it is not what was written",
    "UPDATE audit_events SET outcome = 'refused' WHERE number = 5": "line 5: it is not what was written",
    "UPDATE audit_events SET hash = 'x' WHERE number = 3": "line 3: it is not what was written",
    "DELETE FROM audit_events WHERE number = 1": "line 2: it follows line 0",
    "DELETE FROM audit_events WHERE number = 3": "line 4: it follows line 2",
    "DELETE FROM audit_events WHERE number = 5": "line 5: the log ended with this line, and ends with 4 now",
    "DELETE FROM audit_events": "line 5: the log ended with this line, and ends with 0 now",
    "UPDATE audit_events SET number = 9 WHERE number = 2": "line 3: it follows line 1",
    "INSERT INTO audit_events SELECT 6, time, organisation, actor, key_id, ip, agent, action, object, outcome,"
    " request_id, hash FROM audit_events WHERE number = 5": "line 6: it is not what was written",
    "UPDATE keys SET user_id = 'nobody'": "is of something that is not there",
    "UPDATE users SET organisation = 7": "is of something that is not there",
    "DELETE FROM keys": "is of something that is not there",
}


async def logged(world):
    """A key of a user, and five lines in the log."""
    await world.service.access.load()
    desk = world.service.of(1)
    user = await desk.users.create(CreateUser(name="Ada"), Origin())
    await desk.keys.create(CreateKey(name="k", scopes=["key:admin"], user_id=user.id), EVERYBODY, Origin())
    for number in range(3):
        await world.service.access.audit.append(Origin(), "run.terminate", str(number), "done")


@pytest.mark.parametrize("damage", TAMPERED)
async def test_what_was_changed_removed_or_inserted_is_found(world, damage):
    await logged(world)
    assert world.wrong() == []
    world.sql(damage)
    found = [str(finding) for finding in world.wrong()]
    assert any(TAMPERED[damage] in finding for finding in found), found
    for table in ("audit_events", "keys", "users", "key_secrets"):
        world.sql(f"DELETE FROM {table}")
    world.sql("DELETE FROM store WHERE name = 'audit'")


async def test_a_line_that_was_made_by_who_knows_how_is_missed_by_its_head(world):
    """Whoever writes with the database's rights can make a line that fits; what was read of the log before tells it."""
    await logged(world)
    before, _ = await world.service.access.audit.page(0, 0, 10)
    event = AuditEvent(5, 1, 1, "eve", "", "", "", "key.revoke", "x", "done", "", "")
    forged = chained(event, before[3].hash)
    world.sql(f"UPDATE audit_events SET actor = 'eve', hash = '{forged.hash}' WHERE number = 5")
    assert any("line 5" in str(finding) for finding in world.wrong())
    world.sql("DELETE FROM audit_events")
    world.sql("DELETE FROM store WHERE name = 'audit'")


async def test_an_append_that_is_undone_leaves_the_chain_as_it_was(world):
    await logged(world)

    def work(unit):
        append(unit.database, [replace(AuditEvent(*[0] * 3, *[""] * 9), number=0)])
        unit.changes += 1
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await world.store.write(work)
    assert world.wrong() == []
    await world.service.access.audit.append(Origin(), "run.terminate", "x", "done")
    found, _ = await world.service.access.audit.page(0, 0, 10)
    assert [event.number for event in found] == [1, 2, 3, 4, 5, 6]
    assert Head(6, found[-1].hash).number == 6
