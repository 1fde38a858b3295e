"""The check of everything finds what it is for, and finds nothing else."""

import pytest
from tests.harness import declare, in_memory
from tests.rows import verify
from tests.running import of_sqlite

from headway.kernel.run import PARKED
from headway.protocol import workers as wire
from headway.protocol.schedules import CreateSchedule

DAMAGE = {
    "UPDATE runs SET seq = seq + 1": "its last event is 4, it says 5",
    "UPDATE runs SET epoch = epoch + 1": "it was claimed 1 times, its epoch is 2",
    "UPDATE runs SET state = 'failed'": "it is failed, its history ends in succeeded",
    "DELETE FROM events WHERE seq = 2": "event 2 is missing",
    "DELETE FROM events": "it has no history",
    "UPDATE events SET data = replace(data, 'running', 'suspended')": "claimed took it from queued to suspended",
    "UPDATE events SET data = replace(data, '\"epoch\":1', '\"epoch\":3')": "claim 1 has epoch 3",
    "UPDATE events SET data = replace(data, 'created', 'made') WHERE seq = 1": "its history begins with made",
    "INSERT INTO events VALUES (99, 'a', 1, 'run.state', 1, '{}')": "a: it has a history, but is not there",
    "INSERT INTO events VALUES (99, 'z', 1, 'run.state', 1, '{}')": "z: it has a history, but is not there",
    "UPDATE counters SET count = count + 1 WHERE state = 'succeeded'": "says 2, there are 1",
    "INSERT INTO counters VALUES ('t', 'q', 'failed', 0, 1)": "(t, q, failed) says 1, there are 0",
    "DELETE FROM run_labels": "the label 'a' is in the document only",
    "UPDATE runs SET labels = '{}'": "the label 'a' is in the row only",
    "UPDATE run_labels SET value = 'c'": "the label 'a' is in the row only",
    "INSERT INTO steps VALUES ('gone', 's', '1', 1)": "gone: a step of it is left",
    "INSERT INTO results VALUES ('gone', 1, 's', '1', 1)": "gone: a result of it is left",
    "UPDATE results SET number = 2": "it has 1 results, and the last has number 2",
    "INSERT INTO tombstones SELECT id, 1, 'deleted', 1 FROM runs": "tombstone of a live run",
    "INSERT INTO dedupes VALUES ('t', 'k', 'gone', 'active', NULL)": "gone: dedupe key",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_found_and_named(damage):
    harness = in_memory()
    worker = await harness.worker()
    await harness.start("t", labels={"a": "b"})
    lease = await harness.one(worker)
    await harness.tell(worker, lease, wire.ResultReport, value=b"1")
    await harness.succeed(worker, lease)
    assert [] == verify(harness.connection())
    harness.sql(damage)
    found = [str(finding) for finding in verify(harness.connection())]
    assert any(DAMAGE[damage] in finding for finding in found), found


SCHEDULED = {
    "UPDATE schedules SET next_at = next_at + 1": "its next slot is 1800000180000, it says 1800000180001",
    "UPDATE schedules SET definition = replace(definition, 'UTC', 'Mars')": "the schedule cannot be kept to",
    "UPDATE slots SET run_id = 'gone' WHERE nominal = 1800000060000": "slot 1800000060000: its run is not there",
    "UPDATE slots SET run_id = (SELECT min(id) FROM runs)": "its run is another slot's too",
    "UPDATE slots SET nominal = 1800000180000 WHERE nominal = 1800000060000": "later than the last that was decided",
    "UPDATE runs SET schedule_id = 'other' WHERE state = 'queued'": "it waits for earlier runs of its schedule",
}


@pytest.mark.parametrize("damage", SCHEDULED)
async def test_damage_to_schedules_is_found_and_named(damage):
    harness = in_memory()
    await harness.worker()
    await harness.schedules.create(CreateSchedule(name="s", task="t", occurrence="Every Minute", overlap="queue"))
    await harness.advance(60_000)
    await harness.advance(60_000)
    assert [] == verify(harness.connection())
    harness.sql(damage)
    found = [str(finding) for finding in verify(harness.connection())]
    assert any(SCHEDULED[damage] in finding for finding in found), found


async def test_a_lease_of_a_worker_that_is_gone_is_found():
    harness = in_memory()
    worker = await harness.worker()
    await harness.start()
    await harness.one(worker)
    harness.sql("UPDATE workers SET state = 'gone'")
    assert "which is gone" in str(verify(harness.connection())[0])


async def test_runs_that_wait_for_a_slot_that_is_free_are_found():
    harness = in_memory()
    await harness.worker(declare("t", concurrency_per_key=1))
    await harness.start("t", key="k")
    harness.sql("UPDATE runs SET parked_until = ?", PARKED)
    assert "wait for a slot that is free" in str(verify(harness.connection())[0])


@of_sqlite("disk")
async def test_a_file_is_checked_as_a_whole(disk):
    await disk.worker()
    await disk.start()
    assert [] == verify(disk.path)
