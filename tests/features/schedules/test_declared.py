"""Schedules that code declares, on each store: made, changed, paused by what workers say when they register."""

import asyncio
import json

import msgspec
import pytest
from tests.features.schedules.schedules import HOUR, MINUTE, create, ran, runs_of, slots
from tests.harness import START, declare

from headway.errors import InvalidInput, InvalidSchedule, ScheduleNotFound
from headway.features.schedules.rules.declaring import GONE
from headway.protocol.schedules import PatchSchedule, ResumeSchedule, ScheduleDeclaration
from headway.protocol.times import to_text
from headway.protocol.workers import RegisterWorker


def said(name="s", task="t", occurrence="Hourly", **more):
    fields = {"name": name, "task": task, "occurrence": occurrence, **more}
    return msgspec.json.decode(json.dumps(fields), type=ScheduleDeclaration)


async def begin(harness, *schedules, tasks=("t",), started_at=None, **more):
    """A worker of this code begins; return what it is told."""
    harness.last = await harness.workers.register(
        RegisterWorker(
            tasks=[declare(name, **more) for name in tasks], schedules=list(schedules),
            started_at=None if started_at is None else to_text(started_at),
        )
    )  # fmt: skip
    return harness.workers.notices_of(harness.last.id)


async def patch(harness, named="s", **fields):
    return await harness.schedules.patch(named, msgspec.convert(fields, PatchSchedule), None)


async def test_a_declared_schedule_is_made_once_and_fires(harness):
    for _ in range(3):
        assert await begin(harness, said(input={"a": 1}, priority=7)) == []
    (schedule,), _ = await harness.schedules.page(None, "", 10)
    assert (schedule.declared, schedule.version, schedule.next_at) == (True, 1, START // HOUR * HOUR + HOUR)
    harness.clock.advance(HOUR)
    await harness.scheduler.tick()
    (run,) = await runs_of(harness)
    assert (run.input, run.priority, run.run_type, run.schedule_id) == ('{"a":1}', 7, "schedule", schedule.id)
    assert await begin(harness, said(input={"a": 1}, priority=7)) == []
    assert len(await slots(harness)) == 1


async def test_a_change_in_code_changes_it_and_slots_before_are_what_it_said_then(harness):
    await begin(harness, said(occurrence="Every Minute", overlap="allow", catch_up="all"))
    harness.clock.advance(3 * MINUTE)
    await begin(harness, said(occurrence="every 2m", overlap="allow", catch_up="all", starts_at=to_text(START)))
    assert [outcome for _, outcome, _ in await slots(harness)] == ["ran"] * 3
    harness.clock.advance(3 * MINUTE)
    await harness.scheduler.tick()
    assert await ran(harness) == [1, 2, 3, 4, 6]
    assert (await harness.schedules.get("s")).version == 2


async def test_what_somebody_has_changed_or_paused_stays_until_the_code_says_otherwise(harness):
    await begin(harness, said(description="first"))
    await patch(harness, occurrence="Daily", jitter="5m")
    await harness.schedules.pause("s")
    before = await harness.schedules.get("s")
    assert await begin(harness, said(description="first")) == []
    assert await harness.schedules.get("s") == before
    assert await begin(harness, said(description="second")) == []
    after = await harness.schedules.get("s")
    assert (after.description, after.occurrence, after.jitter_ms, after.paused) == ("second", "Daily", 5 * MINUTE, True)
    (told,) = await begin(harness, said(description="second", jitter="1m"))
    assert "jitter" in told
    assert (await harness.schedules.get("s")).jitter_ms == MINUTE


async def test_changes_that_do_not_go_together_are_the_codes(harness):
    await begin(harness, said(occurrence="Daily"))
    await patch(harness, ends_at=to_text(START + 30 * 24 * HOUR))
    (told,) = await begin(harness, said(occurrence="Daily", starts_at=to_text(START + 60 * 24 * HOUR)))
    assert "ends_at" in told
    schedule = await harness.schedules.get("s")
    assert (schedule.starts_at, schedule.ends_at) == (START + 60 * 24 * HOUR, None)


async def test_one_that_the_code_leaves_is_paused_and_goes_on_when_it_is_back(harness):
    await begin(harness, said(occurrence="Every Minute"), said("kept"))
    harness.clock.advance(1)
    (told,) = await begin(harness, said("kept"))
    assert "'s'" in told
    schedule = await harness.schedules.get("s")
    assert (schedule.paused, schedule.problem, schedule.next_at) == (True, GONE, None)
    assert not (await harness.schedules.get("kept")).paused
    harness.clock.advance(10 * MINUTE)
    await harness.scheduler.tick()
    assert await begin(harness, said(occurrence="Every Minute"), said("kept")) == []
    harness.clock.advance(MINUTE)
    await harness.scheduler.tick()
    assert await ran(harness) == [11], "what passed meanwhile was not declared"


async def test_a_worker_without_the_task_says_nothing_about_its_schedules(harness):
    await begin(harness, said())
    await begin(harness, tasks=("other",))
    assert (await harness.schedules.get("s")).declared


async def test_an_older_version_that_connects_again_undoes_nothing(harness):
    old, new = START - 10 * MINUTE, START - 5 * MINUTE
    await begin(harness, said(priority=1), started_at=old)
    await begin(harness, said(priority=2), said("more"), started_at=new)
    for _ in range(2):
        assert await begin(harness, said(priority=1), started_at=old) == []
        found, _ = await harness.schedules.page(None, "", 10)
        assert [(one.name, one.priority, one.paused) for one in found] == [("more", None, False), ("s", 2, False)]
    await begin(
        harness, said(priority=1), started_at=START + 24 * HOUR
    )  # a clock that is fast does not lock others out
    harness.clock.advance(1)
    await begin(harness, said(priority=2), said("more"))
    found, _ = await harness.schedules.page(None, "", 10)
    assert [(one.name, one.priority, one.paused) for one in found] == [("more", None, False), ("s", 2, False)]


async def test_one_that_was_made_by_hand_is_left_alone_and_the_worker_is_told(harness):
    await harness.worker()
    by_hand = await create(harness, "Daily")
    (told,) = await begin(harness, said(occurrence="Hourly"))
    assert "made by hand" in told
    assert await harness.schedules.get("s") == by_hand
    await begin(harness)
    assert await harness.schedules.get("s") == by_hand


async def test_one_that_is_removed_comes_back_with_the_code(harness):
    await begin(harness, said())
    await harness.schedules.delete("s")
    with pytest.raises(ScheduleNotFound):
        await harness.schedules.get("s")
    await begin(harness, said())
    assert (await harness.schedules.get("s")).declared


async def test_one_that_was_renamed_by_hand_is_the_same_one(harness):
    await begin(harness, said())
    made = await patch(harness, name="renamed")
    await begin(harness, said(priority=3))
    (found,), _ = await harness.schedules.page(None, "", 10)
    assert (found.id, found.name, found.priority) == (made.id, "renamed", 3)


async def test_a_function_that_is_renamed_keeps_the_schedule_with_a_name(harness):
    await begin(harness, said("nightly", "t"))
    made = await harness.schedules.get("nightly")
    await begin(harness, said("nightly", "u"), tasks=("u",))
    after = await harness.schedules.get("nightly")
    assert (after.id, after.task, after.paused) == (made.id, "u", False)


async def test_one_that_is_over_does_not_keep_the_worker_away(harness):
    over = said(ends_at=to_text(START - HOUR))
    for _ in range(2):
        assert await begin(harness, over) == []
    schedule = await harness.schedules.get("s")
    assert (schedule.next_at, schedule.paused) == (None, False)


async def test_who_lets_one_go_on_that_the_code_has_left_is_not_undone(harness):
    await begin(harness, said())
    harness.clock.advance(1)
    await begin(harness)
    await harness.schedules.resume("s", ResumeSchedule())
    harness.clock.advance(1)
    assert await begin(harness) == []
    schedule = await harness.schedules.get("s")
    assert (schedule.paused, schedule.declared) == (False, False)


@pytest.mark.parametrize(
    ("schedules", "kind", "pointer"),
    [
        ([said(task="other")], InvalidInput, "/schedules/0/task"),
        ([said(), said()], InvalidInput, "/schedules/1/name"),
        ([said("a"), said("b", occurrence="0 25 * * *")], InvalidSchedule, "/schedules/1/occurrence"),
        ([said(timezone="Nowhere")], InvalidSchedule, "/schedules/0/timezone"),
        ([said(jitter="a while")], InvalidInput, "/schedules/0/jitter"),
        ([said(labels={"slot": "x"})], InvalidInput, "/schedules/0/labels/slot"),
        ([said(input={"n": "x"})], InvalidInput, "/schedules/0/input/n"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_place_and_nothing_is_kept(schedules, kind, pointer, harness):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    with pytest.raises(kind) as refused:
        await begin(harness, *schedules, input_schema=schema)
    assert refused.value.errors[0]["pointer"] == pointer
    assert refused.value.detail.startswith(f"schedules.{pointer[11]}.")
    assert (await harness.schedules.page(None, "", 10))[0] == []
    assert "t" not in [task.name for task in harness.tasks.list()]


async def test_each_organisation_has_its_own(harness):
    await begin(harness, said(priority=1))
    await harness.act_for(2)
    await begin(harness, said(priority=2))
    (theirs,), _ = await harness.schedules.page(None, "", 10)
    await harness.act_for(1)
    (ours,), _ = await harness.schedules.page(None, "", 10)
    assert [(one.name, one.task, one.priority) for one in (ours, theirs)] == [("s", "t", 1), ("s", "t", 2)]
    await begin(harness)
    await harness.act_for(2)
    assert not (await harness.schedules.get("s")).paused


async def test_workers_that_begin_at_the_same_time_make_one_of_each(disk):
    names = [f"s{n}" for n in range(5)]
    await asyncio.gather(*(begin(disk, *map(said, names)) for _ in range(8)))
    found, _ = await disk.schedules.page(None, "", 100)
    assert [(one.name, one.version) for one in found] == [(name, 1) for name in names]


async def test_what_is_declared_outlives_a_restart(disk):
    await begin(disk, said())
    before = await disk.schedules.get("s")
    await disk.restart()
    assert await begin(disk, said()) == []
    assert await disk.schedules.get("s") == before
