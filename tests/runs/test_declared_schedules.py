"""Schedules that code declares, on each store: made, changed, paused by what workers say when they register."""

import asyncio
import json

import msgspec
import pytest
from tests.runs.schedules import HOUR, MINUTE, create, ran, runs_of, slots
from tests.world import START, declare

from headway.errors import InvalidInput, InvalidSchedule, ScheduleNotFound
from headway.features.schedules.rules.declaring import GONE
from headway.protocol.schedules import PatchSchedule, ResumeSchedule, ScheduleDeclaration
from headway.protocol.times import to_text
from headway.protocol.workers import RegisterWorker


def said(name="s", task="t", occurrence="Hourly", **more):
    fields = {"name": name, "task": task, "occurrence": occurrence, **more}
    return msgspec.json.decode(json.dumps(fields), type=ScheduleDeclaration)


async def begin(world, *schedules, tasks=("t",), started_at=None, **more):
    """A worker of this code begins; return what it is told."""
    world.last = await world.workers.register(
        RegisterWorker(
            tasks=[declare(name, **more) for name in tasks], schedules=list(schedules),
            started_at=None if started_at is None else to_text(started_at),
        ),
        world.organisation,
    )  # fmt: skip
    return world.workers.notices_of(world.last.id)


async def patch(world, named="s", **fields):
    return await world.schedules.patch(named, msgspec.convert(fields, PatchSchedule), None)


async def test_a_declared_schedule_is_made_once_and_fires(world):
    for _ in range(3):
        assert await begin(world, said(input={"a": 1}, priority=7)) == []
    (schedule,), _ = await world.schedules.page(None, "", 10)
    assert (schedule.declared, schedule.version, schedule.next_at) == (True, 1, START // HOUR * HOUR + HOUR)
    world.clock.advance(HOUR)
    await world.scheduler.tick()
    (run,) = await runs_of(world)
    assert (run.input, run.priority, run.run_type, run.schedule_id) == ('{"a":1}', 7, "schedule", schedule.id)
    assert await begin(world, said(input={"a": 1}, priority=7)) == []
    assert len(await slots(world)) == 1


async def test_a_change_in_code_changes_it_and_slots_before_are_what_it_said_then(world):
    await begin(world, said(occurrence="Every Minute", overlap="allow", catch_up="all"))
    world.clock.advance(3 * MINUTE)
    await begin(world, said(occurrence="every 2m", overlap="allow", catch_up="all", starts_at=to_text(START)))
    assert [outcome for _, outcome, _ in await slots(world)] == ["ran"] * 3
    world.clock.advance(3 * MINUTE)
    await world.scheduler.tick()
    assert await ran(world) == [1, 2, 3, 4, 6]
    assert (await world.schedules.get("s")).version == 2


async def test_what_somebody_has_changed_or_paused_stays_until_the_code_says_otherwise(world):
    await begin(world, said(description="first"))
    await patch(world, occurrence="Daily", jitter="5m")
    await world.schedules.pause("s")
    before = await world.schedules.get("s")
    assert await begin(world, said(description="first")) == []
    assert await world.schedules.get("s") == before
    assert await begin(world, said(description="second")) == []
    after = await world.schedules.get("s")
    assert (after.description, after.occurrence, after.jitter_ms, after.paused) == ("second", "Daily", 5 * MINUTE, True)
    (told,) = await begin(world, said(description="second", jitter="1m"))
    assert "jitter" in told
    assert (await world.schedules.get("s")).jitter_ms == MINUTE


async def test_changes_that_do_not_go_together_are_the_codes(world):
    await begin(world, said(occurrence="Daily"))
    await patch(world, ends_at=to_text(START + 30 * 24 * HOUR))
    (told,) = await begin(world, said(occurrence="Daily", starts_at=to_text(START + 60 * 24 * HOUR)))
    assert "ends_at" in told
    schedule = await world.schedules.get("s")
    assert (schedule.starts_at, schedule.ends_at) == (START + 60 * 24 * HOUR, None)


async def test_one_that_the_code_leaves_is_paused_and_goes_on_when_it_is_back(world):
    await begin(world, said(occurrence="Every Minute"), said("kept"))
    world.clock.advance(1)
    (told,) = await begin(world, said("kept"))
    assert "'s'" in told
    schedule = await world.schedules.get("s")
    assert (schedule.paused, schedule.problem, schedule.next_at) == (True, GONE, None)
    assert not (await world.schedules.get("kept")).paused
    world.clock.advance(10 * MINUTE)
    await world.scheduler.tick()
    assert await begin(world, said(occurrence="Every Minute"), said("kept")) == []
    world.clock.advance(MINUTE)
    await world.scheduler.tick()
    assert await ran(world) == [11], "what passed meanwhile was not declared"


async def test_a_worker_without_the_task_says_nothing_about_its_schedules(world):
    await begin(world, said())
    await begin(world, tasks=("other",))
    assert (await world.schedules.get("s")).declared


async def test_an_older_version_that_connects_again_undoes_nothing(world):
    old, new = START - 10 * MINUTE, START - 5 * MINUTE
    await begin(world, said(priority=1), started_at=old)
    await begin(world, said(priority=2), said("more"), started_at=new)
    for _ in range(2):
        assert await begin(world, said(priority=1), started_at=old) == []
        found, _ = await world.schedules.page(None, "", 10)
        assert [(one.name, one.priority, one.paused) for one in found] == [("more", None, False), ("s", 2, False)]
    await begin(world, said(priority=1), started_at=START + 24 * HOUR)  # a clock that is fast does not lock others out
    world.clock.advance(1)
    await begin(world, said(priority=2), said("more"))
    found, _ = await world.schedules.page(None, "", 10)
    assert [(one.name, one.priority, one.paused) for one in found] == [("more", None, False), ("s", 2, False)]


async def test_one_that_was_made_by_hand_is_left_alone_and_the_worker_is_told(world):
    await world.worker()
    by_hand = await create(world, "Daily")
    (told,) = await begin(world, said(occurrence="Hourly"))
    assert "made by hand" in told
    assert await world.schedules.get("s") == by_hand
    await begin(world)
    assert await world.schedules.get("s") == by_hand


async def test_one_that_is_removed_comes_back_with_the_code(world):
    await begin(world, said())
    await world.schedules.delete("s")
    with pytest.raises(ScheduleNotFound):
        await world.schedules.get("s")
    await begin(world, said())
    assert (await world.schedules.get("s")).declared


async def test_one_that_was_renamed_by_hand_is_the_same_one(world):
    await begin(world, said())
    made = await patch(world, name="renamed")
    await begin(world, said(priority=3))
    (found,), _ = await world.schedules.page(None, "", 10)
    assert (found.id, found.name, found.priority) == (made.id, "renamed", 3)


async def test_a_function_that_is_renamed_keeps_the_schedule_with_a_name(world):
    await begin(world, said("nightly", "t"))
    made = await world.schedules.get("nightly")
    await begin(world, said("nightly", "u"), tasks=("u",))
    after = await world.schedules.get("nightly")
    assert (after.id, after.task, after.paused) == (made.id, "u", False)


async def test_one_that_is_over_does_not_keep_the_worker_away(world):
    over = said(ends_at=to_text(START - HOUR))
    for _ in range(2):
        assert await begin(world, over) == []
    schedule = await world.schedules.get("s")
    assert (schedule.next_at, schedule.paused) == (None, False)


async def test_who_lets_one_go_on_that_the_code_has_left_is_not_undone(world):
    await begin(world, said())
    world.clock.advance(1)
    await begin(world)
    await world.schedules.resume("s", ResumeSchedule())
    world.clock.advance(1)
    assert await begin(world) == []
    schedule = await world.schedules.get("s")
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
async def test_what_cannot_be_is_refused_by_its_place_and_nothing_is_kept(schedules, kind, pointer, world):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    with pytest.raises(kind) as refused:
        await begin(world, *schedules, input_schema=schema)
    assert refused.value.errors[0]["pointer"] == pointer
    assert refused.value.detail.startswith(f"schedules.{pointer[11]}.")
    assert (await world.schedules.page(None, "", 10))[0] == []
    assert "t" not in [task.name for task in world.tasks.list()]


async def test_each_organisation_has_its_own(world):
    await begin(world, said(priority=1))
    await world.act_for(2)
    await begin(world, said(priority=2))
    (theirs,), _ = await world.schedules.page(None, "", 10)
    await world.act_for(1)
    (ours,), _ = await world.schedules.page(None, "", 10)
    assert [(one.name, one.task, one.priority) for one in (ours, theirs)] == [("s", "t", 1), ("s", "t", 2)]
    await begin(world)
    await world.act_for(2)
    assert not (await world.schedules.get("s")).paused


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
