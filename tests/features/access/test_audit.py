"""What the store keeps of keys and of the log: the check of everything finds what was tampered with, on both stores."""

import json

import pytest
from msgspec.structs import astuple, replace
from tests.commands import FunctionCommand

from headway.features.access.access import Access
from headway.features.access.audit import Audit
from headway.features.access.keys import Keys
from headway.features.access.model import AuditEvent
from headway.features.access.rules import Head, chained
from headway.features.access.store import append_lines
from headway.features.access.users import Users
from headway.ids import Signer
from headway.kernel.authority import EVERYBODY, Origin
from headway.protocol.access import CreateKey, CreateUser
from headway.serving.offline import doctor

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


async def logged(harness):
    """A key of a user, and five lines in the log."""
    await harness.service.part(Access).load()
    services = harness.service.of(1)
    user = await services.get(Users).create(CreateUser(name="Ada"), Origin())
    await services.get(Keys).create(CreateKey(name="k", scopes=["key:admin"], user_id=user.id), EVERYBODY, Origin())
    for number in range(3):
        await harness.service.part(Access).audit.append(Origin(), "run.terminate", str(number), "done")


@pytest.mark.parametrize("damage", TAMPERED)
async def test_what_was_changed_removed_or_inserted_is_found(harness, damage):
    await logged(harness)
    assert harness.wrong() == []
    harness.sql(damage)
    found = [str(finding) for finding in harness.wrong()]
    assert any(TAMPERED[damage] in finding for finding in found), found
    clean(harness)


def clean(harness):
    """Leave nothing for the check at the end."""
    for table in ("audit_events", "keys", "users", "key_secrets"):
        harness.sql(f"DELETE FROM {table}")
    harness.sql("DELETE FROM store WHERE name IN ('audit', 'audit_seal', 'access')")


def write_anew(harness, lines, *, head=True):
    """Do what who has the database's rights and no secret can do: a chain that fits, with a head that fits."""
    before = Head()
    harness.sql("DELETE FROM audit_events")
    for event in lines:
        made = chained(replace(event, number=before.number + 1), before.hash)
        before = Head(made.number, made.hash)
        harness.sql(f"INSERT INTO audit_events VALUES ({', '.join('?' * 12)})", *astuple(made))
    if head:
        harness.sql("UPDATE store SET value = ? WHERE name = 'audit'", json.dumps([before.number, before.hash]))


async def test_a_log_that_was_emptied_with_its_end_is_missed_by_what_was_made(harness):
    await logged(harness)
    harness.sql("DELETE FROM audit_events")
    harness.sql("DELETE FROM store WHERE name IN ('audit', 'audit_seal')")
    found = [str(finding) for finding in harness.wrong()]
    assert any("nothing tells who has made the key" in finding for finding in found), found
    assert any("nothing tells who has made the user" in finding for finding in found), found
    assert any("were changed 2 times, and 0 lines tell of it" in finding for finding in found), found
    clean(harness)


async def test_an_older_log_that_was_put_back_with_its_end_and_its_seal_is_missed_by_what_was_changed_since(harness):
    await logged(harness)
    signer, audit = harness.service.signer, harness.service.part(Access).audit
    await audit.seal()
    older, _ = await audit.page(0, 0, 100)
    facts = dict(harness.sql("SELECT name, value FROM store WHERE name IN ('audit', 'audit_seal')"))
    key = harness.service.of(1).get(Keys).list()[0].key
    await harness.service.of(1).get(Keys).revoke(key.id, EVERYBODY, Origin())
    await audit.seal()
    assert harness.wrong_with(signer) == []
    write_anew(harness, older)
    for name, value in facts.items():
        harness.sql("UPDATE store SET value = ? WHERE name = ?", value, name)
    found = [str(finding) for finding in harness.wrong_with(signer)]
    assert found == ["audit_events: keys, users and organisations were changed 3 times, and 2 lines tell of it"]
    clean(harness)


@pytest.mark.parametrize(
    ("kept", "seal", "told"),
    [
        (slice(None), True, "line 5: it is not the line that a server has sealed: the log was written anew"),
        (slice(2), True, "line 5: a server has sealed the log with this line, and it ends with 2 now"),
        (slice(None), "", "the log is not sealed"),
        (slice(None), "eve's", "the log's seal was not made with this store's secret"),
    ],
    ids=["anew", "cut off", "its seal removed", "its seal made up"],
)
async def test_a_log_that_was_written_anew_is_missed_by_its_seal(harness, kept, seal, told):
    await logged(harness)
    signer, audit = harness.service.signer, harness.service.part(Access).audit
    await audit.seal()
    assert harness.wrong_with(signer) == []
    lines, _ = await audit.page(0, 0, 100)
    write_anew(harness, [replace(line, actor="eve") for line in lines][kept])
    if seal == "eve's":
        made = Signer(b"e" * 32).seal("audit_seal", json.dumps([5, "x"]))
        harness.sql("UPDATE store SET value = ? WHERE name = 'audit_seal'", made)
    elif not seal:
        harness.sql("DELETE FROM store WHERE name = 'audit_seal'")
    assert harness.wrong() == [], "the chain by itself fits"
    found = [str(finding) for finding in harness.wrong_with(signer)]
    assert [finding.removeprefix("audit_events: ")[: len(told)] for finding in found] == [told]
    clean(harness)


async def test_a_server_does_not_seal_a_log_that_was_written_anew_and_says_so(harness, caplog):
    await logged(harness)
    signer, audit = harness.service.signer, harness.service.part(Access).audit
    await audit.seal()
    lines, _ = await audit.page(0, 0, 100)
    write_anew(harness, [replace(line, actor="eve") for line in lines])
    await audit.append(Origin(), "run.terminate", "x", "done")
    await audit.seal()
    assert "audit.broken: line 5 of the audit log was changed after it was sealed" in caplog.text
    assert "written anew" in str(harness.wrong_with(signer))
    clean(harness)


async def test_a_log_that_lost_its_seal_is_sealed_again_and_that_stands_in_it(harness):
    await logged(harness)
    signer, audit = harness.service.signer, harness.service.part(Access).audit
    harness.sql("DELETE FROM store WHERE name = 'audit_seal'")
    await audit.seal()
    await audit.seal()
    lines, _ = await audit.page(0, 5, 10)
    assert [(line.actor, line.action, line.object) for line in lines] == [("server", "audit.seal", "lines 1 to 5")]
    assert harness.wrong_with(signer) == []
    assert harness.wrong_with(Signer(b"n" * 32), signer) == [], "after a change of the secret the earlier one is asked"
    other = Audit(harness.store, Signer(b"n" * 32), [signer])
    await other.append(Origin(), "run.terminate", "x", "done")
    await other.seal()
    assert harness.wrong_with(Signer(b"n" * 32)) == []
    assert len((await audit.page(0, 0, 100))[0]) == 7, "a seal of the secret before is taken in silence"


async def test_sealing_writes_nothing_when_nothing_is_new(harness):
    await logged(harness)
    audit = harness.service.part(Access).audit
    await audit.seal()
    before = harness.dump()
    await audit.seal()
    assert harness.dump() == before


async def test_a_line_that_was_made_by_who_knows_how_is_missed_by_its_head(harness):
    """Whoever writes with the database's rights can make a line that fits; what was read of the log before tells it."""
    await logged(harness)
    before, _ = await harness.service.part(Access).audit.page(0, 0, 10)
    event = AuditEvent(5, 1, 1, "eve", "", "", "", "key.revoke", "x", "done", "", "")
    forged = chained(event, before[3].hash)
    harness.sql(f"UPDATE audit_events SET actor = 'eve', hash = '{forged.hash}' WHERE number = 5")
    assert any("line 5" in str(finding) for finding in harness.wrong())
    clean(harness)


async def test_an_append_that_is_undone_leaves_the_chain_as_it_was(harness):
    await logged(harness)

    def work(uow):
        append_lines(uow.database, [replace(AuditEvent(*[0] * 3, *[""] * 9), number=0)])
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await harness.store.write(FunctionCommand(work))
    assert harness.wrong() == []
    await harness.service.part(Access).audit.append(Origin(), "run.terminate", "x", "done")
    found, _ = await harness.service.part(Access).audit.page(0, 0, 10)
    assert [event.number for event in found] == [1, 2, 3, 4, 5, 6]
    assert Head(6, found[-1].hash).number == 6


async def test_the_doctor_looks_at_the_seal_with_the_secret_that_it_finds(disk, monkeypatch):
    monkeypatch.setenv("HEADWAY_SECRET", disk.service.signer.secret.decode())
    await logged(disk)
    await disk.service.part(Access).audit.seal()
    url = disk.path if disk.postgres else f"sqlite:///{disk.path}"

    def told():
        return [finding.message for finding in doctor(url, verify=True) if finding.name == "verify"]

    assert told() == ["every row agrees with every other"]
    lines, _ = await disk.service.part(Access).audit.page(0, 0, 100)
    write_anew(disk, [replace(line, actor="eve") for line in lines])
    assert "the log was written anew" in told()[0]
    monkeypatch.setenv("HEADWAY_SECRET", "another " * 8)
    assert "not made with this store's secret" in told()[0]
    monkeypatch.setenv("HEADWAY_EARLIER_SECRETS", disk.service.signer.secret.decode())
    assert "the log was written anew" in told()[0]
    clean(disk)
