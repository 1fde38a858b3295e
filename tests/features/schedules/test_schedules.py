"""Schedules on each store: every slot decided once, every policy, and what people do with them."""

import json
from collections import Counter
from typing import get_args

import pytest
from tests.features.schedules.schedules import HOUR, MINUTE, SECOND, create, made, ran, runs_of, slots
from tests.harness import START, declare, in_memory, key

from headway.errors import (
    IdempotencyKeyReused,
    InvalidInput,
    InvalidSchedule,
    ScheduleBusy,
    ScheduleExists,
    ScheduleNotFound,
    UnknownTask,
    VersionMismatch,
)
from headway.features.schedules.model import SLOT_LABEL, CatchUp, Outcome, Overlap
from headway.features.schedules.rules.policy import MISSED_MOST
from headway.features.schedules.scheduler import AT_ONCE, Scheduler
from headway.features.schedules.service import BACKFILL_MAX
from headway.kernel.run import Reason
from headway.protocol import workers as wire
from headway.protocol.schedules import (
    BackfillSchedule,
    CatchUpName,
    CreateSchedule,
    OutcomeName,
    OverlapName,
    PatchSchedule,
    PreviewSchedule,
    ResumeSchedule,
    TriggerSchedule,
)
from headway.protocol.times import from_text, to_text

DAY = 24 * HOUR
assert START % MINUTE == 0


# -- slots ---------------------------------------------------------------------------------------------------------------


async def test_a_slot_starts_a_run_with_all_that_the_schedule_says(harness):
    await harness.worker(declare("t", priority=3))
    schedule = await create(
        harness, input={"a": 1}, labels={"customer": "7"}, key="k", priority=8, queue="q", max_attempts=2
    )
    assert schedule.next_at == START + MINUTE
    assert 60_000 == await harness.scheduler.tick()
    await harness.advance(MINUTE + 7)
    (run,) = await runs_of(harness)
    assert (run.task, run.input, run.key, run.priority, run.queue, run.max_attempts, run.state) == (
        "t", '{"a":1}', "k", 8, "q", 2, "queued",
    )  # fmt: skip
    assert (run.name, run.run_type, run.schedule_id) == ("s", "schedule", schedule.id)
    assert json.loads(run.labels) == {"customer": "7", SLOT_LABEL: to_text(START + MINUTE)}
    assert await slots(harness) == [(1, "ran", "due")]
    (event,) = await harness.history.events(run.id, 0, 10)
    assert json.loads(event.data) == {
        "state": "queued", "cause": "created", "run_type": "schedule", "schedule_id": schedule.id,
        "slot": to_text(START + MINUTE),
    }  # fmt: skip
    after = await harness.schedules.get("s")
    assert (after.last_slot, after.next_at, after.version) == (START + MINUTE, START + 2 * MINUTE, 1)


async def test_a_slot_fires_once_however_often_one_looks(harness):
    await harness.worker()
    await create(harness, overlap="allow")
    for _ in range(30):
        await harness.advance(10 * SECOND)
        await harness.scheduler.tick()
    assert await ran(harness) == [1, 2, 3, 4, 5]


async def test_a_clock_that_is_set_back_fires_nothing_again(harness):
    await harness.worker()
    await create(harness, overlap="allow")
    await harness.advance(3 * MINUTE)
    before = await slots(harness)
    harness.clock._now_ms -= 2 * MINUTE
    for _ in range(4):
        await harness.scheduler.tick()
        harness.clock.advance(30 * SECOND)
    assert await slots(harness) == before
    await harness.advance(MINUTE)
    assert [at for at, _, _ in await slots(harness)] == [1, 2, 3, 4]


async def test_a_schedule_ends_with_its_last_slot(harness):
    await harness.worker()
    await create(harness, starts_at=to_text(START + HOUR), ends_at=to_text(START + HOUR + 2 * MINUTE), overlap="allow")
    for _ in range(65):
        await harness.advance(MINUTE)
    assert await ran(harness) == [60, 61, 62]
    assert (await harness.schedules.get("s")).next_at is None
    assert await harness.scheduler.tick() is None


async def test_jitter_starts_a_run_later_than_its_slot_and_always_the_same(harness):
    await harness.worker()
    await create(harness, "Hourly", jitter="30m", overlap="allow")
    await harness.advance(HOUR)
    (run,) = await runs_of(harness)
    assert START + HOUR < run.run_at <= START + HOUR + 30 * MINUTE
    assert run.state == "scheduled"
    _, coming = await harness.schedules.coming("s", 1)
    await harness.advance(HOUR)
    assert (await runs_of(harness))[1].run_at == coming[0].run_at


# -- overlap -------------------------------------------------------------------------------------------------------------


async def test_with_skip_a_slot_makes_no_run_while_another_is_unfinished(harness):
    worker = await harness.worker()
    await create(harness)
    await harness.advance(MINUTE, worker)
    lease = await harness.one(worker)
    await harness.advance(MINUTE, worker)
    await harness.succeed(worker, lease)
    await harness.advance(MINUTE, worker)
    assert await slots(harness) == [(1, "ran", "due"), (2, "skipped", "running"), (3, "ran", "due")]
    assert harness.service.part(Scheduler).decided == Counter({("ran", "due"): 2, ("skipped", "running"): 1})


async def test_with_queue_runs_go_one_after_the_other_in_the_order_of_slots(harness):
    worker = await harness.worker()
    await create(harness, overlap="queue", queue_max=3)
    for _ in range(5):
        await harness.advance(MINUTE, worker)
    assert [outcome for _, outcome, _ in await slots(harness)] == ["ran", "ran", "ran", "skipped", "skipped"]
    found = await runs_of(harness)
    assert await harness.states(*found) == ["queued", "suspended", "suspended"]
    assert await harness.why(found[1].id) == ["schedule"]
    for run in found:
        lease = await harness.one(worker)
        assert lease.run_id == run.id
        assert await harness.claim(worker) == []
        await harness.succeed(worker, lease)
    assert await harness.causes(found[1].id) == ["created", "held", "unblocked", "claimed", "succeeded"]


@pytest.mark.parametrize("how", ["failed", "terminated", "terminated while it waits"])
async def test_the_next_has_its_turn_however_the_one_before_ends(harness, how):
    worker = await harness.worker(declare("t", retry={"max_attempts": 1}))
    await create(harness, overlap="queue")
    for _ in range(3):
        await harness.advance(MINUTE, worker)
    first, second, third = await runs_of(harness)
    lease = await harness.one(worker)
    if how == "terminated while it waits":
        await harness.stop(second.id)
        assert await harness.claim(worker) == []
        await harness.succeed(worker, lease)
        assert (await harness.one(worker)).run_id == third.id
        return
    if how == "failed":
        await harness.fail(worker, lease, retryable=False)
    else:
        await harness.succeed(worker, lease)
        await harness.stop(second.id)
        second = third
    assert (await harness.one(worker)).run_id == second.id
    assert first.id != second.id


async def test_who_resumes_a_run_that_waits_lets_it_run_beside_the_others(harness):
    worker = await harness.worker()
    await create(harness, overlap="queue")
    for _ in range(3):
        await harness.advance(MINUTE, worker)
    first, second, third = await runs_of(harness)
    await harness.runs.resume(second.id, Reason(code="resumed"))
    leases = await harness.claim(worker)
    assert {lease.run_id for lease in leases} == {first.id, second.id}
    await harness.succeed(worker, leases[0])
    assert await harness.state(third.id) == "suspended"
    await harness.succeed(worker, leases[1])
    assert await harness.state(third.id) == "queued"


async def test_with_cancel_running_the_new_run_begins_when_the_old_one_has_stopped(harness):
    worker = await harness.worker()
    await create(harness, overlap="cancel_running")
    await harness.advance(MINUTE, worker)
    lease = await harness.one(worker)
    await harness.advance(MINUTE, worker)
    first, second = await runs_of(harness)
    assert await harness.states(first, second) == ["stopping", "suspended"]
    await harness.tell(worker, lease, wire.StoppedReport)
    assert await harness.states(first, second) == ["terminated", "queued"]
    assert json.loads((await harness.runs.get(first.id)).reason)["code"] == "replaced"
    await harness.advance(MINUTE, worker)  # nobody has begun the second: it is gone at once
    _, second, third = await runs_of(harness)
    assert await harness.states(second, third) == ["terminated", "queued"]


async def test_with_allow_runs_go_beside_each_other(harness):
    worker = await harness.worker()
    await create(harness, overlap="allow")
    for _ in range(3):
        await harness.advance(MINUTE, worker)
    assert len(await harness.claim(worker)) == 3


# -- catch-up --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "late_by", "wanted"),
    [
        ({"catch_up": "latest"}, 0, {("missed", "newer"): 9, ("ran", "due"): 1}),
        ({"catch_up": "latest"}, 61 * SECOND, {("missed", "newer"): 10, ("ran", "due"): 1}),
        ({"catch_up": "all"}, 0, {("ran", "caught_up"): 8, ("ran", "due"): 2}),
        ({"catch_up": "all", "catch_up_max": 3}, 0, {("missed", "too_many"): 7, ("ran", "caught_up"): 1, ("ran", "due"): 2}),
        ({"catch_up": "all", "catch_up_window": "5m"}, 0, {("missed", "too_old"): 4, ("ran", "caught_up"): 4, ("ran", "due"): 2}),
        ({"catch_up": "skip"}, 0, {("missed", "newer"): 9, ("ran", "due"): 1}),
        ({"catch_up": "skip", "late_after": "0s"}, 1, {("missed", "late"): 10}),
    ],
)  # fmt: skip
async def test_what_passed_while_nobody_looked_is_caught_up_as_the_policy_says(harness, options, late_by, wanted):
    await harness.worker()
    await create(harness, overlap="allow", **options)
    await harness.advance(10 * MINUTE + late_by)
    found = await slots(harness)
    assert Counter((outcome, why) for _, outcome, why in found) == wanted
    assert [at for at, _, _ in found] == list(range(1, len(found) + 1))


async def test_a_whole_outage_is_kept_in_few_rows_and_every_slot_of_it_stands_in_one(harness):
    await harness.worker()
    await create(harness)
    await harness.advance(30 * DAY)
    found, _ = await harness.schedules.slots("s", None, None, 1_000)
    assert len(found) == MISSED_MOST + 2
    oldest = found[-1]
    assert oldest.nominal == START + MINUTE
    assert oldest.until == found[-2].nominal - MINUTE
    assert found[0].outcome == "ran"
    assert found[0].nominal == START + 30 * DAY


async def test_a_long_catch_up_is_done_in_parts_and_leaves_nothing_out(harness):
    await harness.worker()
    await create(harness, overlap="allow", catch_up="all", catch_up_max=2 * AT_ONCE + 10)
    await harness.advance(2 * AT_ONCE * MINUTE)
    window = 1_440  # a day
    assert harness.store.counters.count() == window + 1
    (row,) = harness.sql("SELECT count(*), sum(CASE WHEN outcome = 'ran' THEN 1 ELSE 0 END) FROM slots")
    assert row[1] == window + 1
    assert (await harness.schedules.get("s")).last_slot == START + 2 * AT_ONCE * MINUTE


async def test_slots_are_caught_up_after_a_restart(disk):
    await disk.worker()
    await create(disk, overlap="allow", catch_up="all")
    await disk.advance(MINUTE)
    await disk.restart()
    await disk.advance(3 * MINUTE)
    assert await ran(disk) == [1, 2, 3, 4]


# -- tasks that cannot be started ---------------------------------------------------------------------------------------------


async def test_a_slot_of_an_inactive_task_says_so_and_is_run_afterwards_if_somebody_wants_that(harness):
    await harness.worker()
    await create(harness)
    await harness.tasks.activate("t", active=False)
    await harness.advance(MINUTE)
    assert await slots(harness) == [(1, "skipped", "task_inactive")]
    await harness.tasks.activate("t", active=True)
    await harness.advance(MINUTE)
    filled = await backfill(harness, 1, 2)
    assert [slot.nominal for slot in filled.slots] == [START + MINUTE]
    assert await slots(harness) == [(1, "ran", "backfilled"), (2, "ran", "due")]


async def test_a_slot_whose_input_does_not_fit_the_task_any_more_says_so(harness):
    await harness.worker()
    await create(harness, input={"a": "text"}, overlap="allow")
    await harness.worker(declare("t", input_schema={"properties": {"a": {"type": "integer"}}}))
    await harness.advance(MINUTE)
    (slot,), _ = await harness.schedules.slots("s", None, None, 10)
    assert (slot.outcome, slot.why) == ("skipped", "invalid_input")
    assert "input.a" in slot.detail


async def test_a_slot_of_a_task_that_has_vanished_says_so(harness):
    await harness.worker()
    await create(harness, overlap="allow", catch_up="all")
    harness.sql("DELETE FROM tasks")
    await harness.store.refresh()
    await harness.advance(2 * MINUTE)
    assert await slots(harness) == [(1, "skipped", "unknown_task"), (2, "skipped", "unknown_task")]


async def test_a_schedule_that_cannot_be_kept_to_is_paused_and_says_why_and_others_go_on(harness):
    await harness.worker()
    await create(harness, name="broken")
    await create(harness)
    harness.sql(
        "UPDATE schedules SET definition = replace(definition, '\"UTC\"', '\"Mars/Base\"') WHERE name = 'broken'"
    )
    await harness.advance(MINUTE)
    broken = await harness.schedules.get("broken")
    assert broken.paused
    assert "Mars/Base" in broken.problem
    assert await ran(harness) == [1]
    with pytest.raises(InvalidSchedule):
        await harness.schedules.resume("broken", ResumeSchedule())
    await harness.schedules.patch("broken", made(PatchSchedule, timezone="UTC"), None)
    resumed = await harness.schedules.resume("broken", ResumeSchedule())
    assert (resumed.paused, resumed.problem) == (False, "")


# -- what is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("occurrence", "61 * * * *"), ("occurrence", "FREQ=SECONDLY"), ("occurrence", "0 0 30 2 *"), ("occurrence", "sometimes"),
        ("timezone", "Mars/Base"), ("ends_at", "2020-01-01T00:00:00Z"), ("starts_at", "tomorrow"), ("jitter", "2d"),
        ("late_after", "1e9d"), ("catch_up_window", "20y"), ("labels/slot", None), ("name", "0199f2a4-7c3e-7000-9b1a-5d0c2e4f6a81"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_and_the_field_is_named(field, value):
    harness = in_memory()
    await harness.worker()
    with pytest.raises(InvalidInput) as caught:
        await create(harness, **({"labels": {"slot": "x"}} if value is None else {field: value}))
    assert [error["pointer"] for error in caught.value.errors] == [f"/{field}"]
    assert harness.sql("SELECT count(*) FROM schedules") == [(0,)]
    await harness.close()


async def test_input_is_held_against_the_task_when_the_schedule_is_made(harness):
    await harness.worker(declare("t", input_schema={"properties": {"a": {"type": "integer"}}}))
    with pytest.raises(InvalidInput) as caught:
        await create(harness, input={"a": "x"})
    assert caught.value.errors[0]["pointer"] == "/input/a"
    with pytest.raises(UnknownTask):
        await create(harness, task="other")
    await create(harness, input={"a": 1})
    with pytest.raises(InvalidInput):
        await harness.schedules.patch("s", made(PatchSchedule, input={"a": "x"}), None)


async def test_a_name_is_taken_once(harness):
    await harness.worker()
    first = await create(harness)
    with pytest.raises(ScheduleExists):
        await create(harness)
    await create(harness, name="other")
    with pytest.raises(ScheduleExists):
        await harness.schedules.patch("other", made(PatchSchedule, name="s"), None)
    assert (await harness.schedules.get(first.id)).name == "s"
    assert [s.name for s in (await harness.schedules.page(None, "", 10))[0]] == ["other", "s"]


async def test_a_repeated_request_has_one_effect(harness):
    await harness.worker()
    asked = made(CreateSchedule, name="s", task="t", occurrence="Daily")
    first = await harness.schedules.create(asked, key("one"))
    assert (await harness.schedules.create(asked, key("one"))).id == first.id
    with pytest.raises(IdempotencyKeyReused):
        await harness.schedules.create(asked, key("one", b'{"a":1}'))
    run = await harness.schedules.trigger("s", TriggerSchedule(), key("two"))
    assert (await harness.schedules.trigger("s", TriggerSchedule(), key("two"))).id == run.id
    assert harness.store.counters.count() == 1


# -- changing -----------------------------------------------------------------------------------------------------------------


async def test_a_change_is_about_slots_to_come_and_none_falls_between(harness):
    await harness.worker()
    await create(harness, overlap="allow")
    harness.clock.advance(MINUTE + 500)  # nobody has looked yet
    after = await harness.schedules.patch("s", made(PatchSchedule, occurrence="every 40s"), 1)
    assert await ran(harness) == [1]
    assert after.version == 2
    assert after.next_at > harness.clock.now_ms()
    await harness.scheduler.tick()
    assert await ran(harness) == [1]
    with pytest.raises(VersionMismatch):
        await harness.schedules.patch("s", made(PatchSchedule, overlap="skip"), 1)
    kept = await harness.schedules.patch("s", PatchSchedule(), 2)
    assert kept.version == 2


async def test_slots_that_pass_do_not_make_an_edit_stale(harness):
    await harness.worker()
    schedule = await create(harness, overlap="allow")
    await harness.advance(3 * MINUTE)
    patched = await harness.schedules.patch("s", made(PatchSchedule, description="x", priority=7), schedule.version)
    assert (patched.description, patched.priority, patched.last_slot) == ("x", 7, START + 3 * MINUTE)
    cleared = await harness.schedules.patch("s", made(PatchSchedule, priority=None, ends_at=None), None)
    assert cleared.priority is None


@pytest.mark.parametrize(
    ("catch_up", "override", "wanted"),
    [
        ("latest", None, [(1, "ran"), (2, "missed"), (3, "missed"), (4, "ran")]),
        ("all", None, [(1, "ran"), (2, "ran"), (3, "ran"), (4, "ran")]),
        ("skip", None, [(1, "ran"), (2, "missed"), (3, "missed"), (4, "missed")]),
        ("latest", "skip", [(1, "ran"), (2, "missed"), (3, "missed"), (4, "missed")]),
    ],
)
async def test_what_passed_in_a_pause_is_caught_up_as_the_policy_or_who_resumes_says(
    harness, catch_up, override, wanted
):
    await harness.worker()
    await create(harness, overlap="allow", catch_up=catch_up, late_after="1s")
    await harness.advance(MINUTE)
    paused = await harness.schedules.pause("s")
    assert (paused.paused, paused.next_at) == (True, None)
    assert (await harness.schedules.pause("s")).version == paused.version
    await harness.advance(3 * MINUTE + 2 * SECOND)
    assert await ran(harness) == [1]
    await harness.schedules.resume("s", ResumeSchedule(catch_up=override))
    await harness.scheduler.tick()
    assert [(at, outcome) for at, outcome, _ in await slots(harness)] == wanted
    assert (await harness.schedules.get("s")).next_at == START + 5 * MINUTE


async def test_what_had_come_before_a_pause_still_runs(harness):
    await harness.worker()
    await create(harness)
    harness.clock.advance(MINUTE + 10)
    await harness.schedules.pause("s")
    assert await ran(harness) == [1]


async def test_a_schedule_that_is_removed_leaves_its_runs(harness):
    worker = await harness.worker()
    await create(harness, overlap="queue")
    await harness.advance(MINUTE, worker)
    await harness.advance(MINUTE, worker)
    first, second = await runs_of(harness)
    with pytest.raises(VersionMismatch):
        await harness.schedules.delete("s", 5)
    await harness.schedules.delete("s", 1)
    with pytest.raises(ScheduleNotFound):
        await harness.schedules.get("s")
    await harness.advance(MINUTE, worker)
    await harness.succeed(worker, await harness.one(worker))
    assert await harness.states(first, second) == ["succeeded", "queued"]


# -- by hand --------------------------------------------------------------------------------------------------------------------


async def test_a_trigger_starts_a_run_beside_the_slots_and_overlap_holds(harness):
    worker = await harness.worker()
    schedule = await create(harness, "Daily", input=[1])
    run = await harness.schedules.trigger("s", TriggerSchedule(reason="now", actor="ada"))
    assert (run.schedule_id, run.input, run.state) == (schedule.id, "[1]", "queued")
    (event,) = await harness.history.events(run.id, 0, 10)
    assert {"reason": "now", "actor": "ada"}.items() <= json.loads(event.data).items()
    with pytest.raises(ScheduleBusy):
        await harness.schedules.trigger("s", TriggerSchedule())
    waits = await harness.schedules.trigger("s", TriggerSchedule(overlap="queue"))
    beside = await harness.schedules.trigger("s", TriggerSchedule(overlap="allow"))
    assert [waits.state, beside.state] == ["suspended", "queued"]
    for lease in await harness.claim(worker):
        await harness.succeed(worker, lease)
    assert await harness.state(waits.id) == "queued"
    assert await slots(harness) == []
    assert (await harness.schedules.get("s")).next_at == schedule.next_at


async def backfill(harness, first, last, **fields):
    span = {"from": to_text(START + int(first * MINUTE)), "to": to_text(START + int(last * MINUTE))}
    return await harness.schedules.backfill("s", made(BackfillSchedule, **span, **fields))


async def test_a_back_fill_runs_each_slot_that_has_no_run_and_asked_twice_none_twice(harness):
    worker = await harness.worker()
    await create(harness, catch_up="skip", late_after="0s", overlap="allow")
    await harness.advance(2 * MINUTE, worker)
    await harness.advance(3 * MINUTE + 5, worker)
    assert await ran(harness) == [2]
    planned = await backfill(harness, -2, 5, dry_run=True)
    assert planned.dry_run
    assert harness.store.counters.count() == 1
    filled = await backfill(harness, -2, 5, overlap="queue")
    assert [slot.nominal for slot in planned.slots] == [slot.nominal for slot in filled.slots]
    assert await ran(harness) == [-2, -1, 0, 1, 2, 3, 4, 5]
    assert (await backfill(harness, -2, 5)).slots == []
    order = []
    while leases := await harness.claim(worker):
        for lease in leases:
            order.append(json.loads((await harness.runs.get(lease.run_id)).labels)[SLOT_LABEL])
            await harness.succeed(worker, lease)
    assert order[0] == to_text(START + 2 * MINUTE)
    assert [(from_text(text) - START) // MINUTE for text in order[1:]] == [-2, -1, 0, 1, 3, 4, 5]


async def test_a_back_fill_does_not_take_slots_before_the_scheduler_has(harness):
    await harness.worker()
    await create(harness, overlap="allow")
    harness.clock.advance(2 * MINUTE)
    assert [slot.nominal for slot in (await backfill(harness, 0, 2)).slots] == [START]
    await harness.tick()
    assert [(at, outcome) for at, outcome, _ in await slots(harness)] == [(0, "ran"), (1, "missed"), (2, "ran")]


async def test_a_back_fill_takes_slots_out_of_those_that_are_kept_as_one(harness):
    await harness.worker()
    await create(harness, overlap="allow")
    await harness.advance(200 * MINUTE)
    await backfill(harness, 3, 3)
    await backfill(harness, 1, 2)
    found, _ = await harness.schedules.slots("s", None, None, 1_000)
    assert [((slot.nominal - START) // MINUTE, slot.outcome.value) for slot in found[:-5:-1]] == [
        (1, "ran"), (2, "ran"), (3, "ran"), (4, "missed"),
    ]  # fmt: skip
    assert found[-4].until == found[-5].nominal - MINUTE


@pytest.mark.parametrize(
    ("first", "last", "pointer"), [(0, BACKFILL_MAX + 5, "/to"), (2, 1, "/to"), (-60 * 24 * 40, 0, "/from")]
)
async def test_a_back_fill_has_bounds(harness, first, last, pointer):
    await harness.worker()
    await create(harness)
    await harness.advance((BACKFILL_MAX + 10) * MINUTE)
    with pytest.raises(InvalidInput) as caught:
        await backfill(harness, first, last)
    assert caught.value.errors[0]["pointer"] == pointer


# -- looking --------------------------------------------------------------------------------------------------------------------


async def test_lists_come_in_pages(harness):
    await harness.worker(declare("t"), declare("u"))
    for number in range(7):
        await create(harness, name=f"s{number}", task="t" if number % 2 else "u", overlap="allow")
    first, after = await harness.schedules.page(None, "", 4)
    rest, end = await harness.schedules.page(None, after, 4)
    assert [s.name for s in (*first, *rest)] == [f"s{number}" for number in range(7)]
    assert end == ""
    assert [s.name for s in (await harness.schedules.page("t", "", 10))[0]] == ["s1", "s3", "s5"]
    for _ in range(5):
        await harness.advance(MINUTE)
    page, before = await harness.schedules.slots("s1", "ran", None, 3)
    last, end = await harness.schedules.slots("s1", None, before, 3)
    assert [(slot.nominal - START) // MINUTE for slot in (*page, *last)] == [5, 4, 3, 2, 1]
    assert end is None


async def test_the_next_slots_can_be_seen_beforehand(harness):
    await harness.worker()
    asked = made(
        PreviewSchedule, occurrence="0 9 * * mon", timezone="Europe/Berlin", after="2026-10-20T00:00:00Z", count=2
    )
    schedule, coming = harness.schedules.preview(asked)
    assert schedule.occurrence == "0 9 * * MON"
    assert [slot.local for slot in coming] == ["2026-10-26T09:00:00+01:00", "2026-11-02T09:00:00+01:00"]
    await create(harness)
    await harness.schedules.pause("s")
    _, coming = await harness.schedules.coming("s", 3)
    assert [(slot.nominal - START) // MINUTE for slot in coming] == [1, 2, 3]


async def test_what_became_of_slots_is_forgotten_with_retention(harness):
    await harness.worker()
    await create(harness, "Daily", overlap="allow")
    for _ in range(3):
        await harness.advance(DAY)
    await harness.advance(harness.settings.slots_ms - DAY)
    assert len(await slots(harness)) > 3
    await harness.advance(DAY - 1)
    await harness.advance(1)
    oldest, _ = await harness.schedules.slots("s", None, None, 1_000)
    assert oldest[-1].decided_at >= harness.clock.now_ms() - harness.settings.slots_ms


def test_every_policy_has_its_word_on_the_wire():
    for words, kind in ((OverlapName, Overlap), (CatchUpName, CatchUp), (OutcomeName, Outcome)):
        assert set(get_args(words)) == set(kind)


# -- organisations -------------------------------------------------------------------------------------------------------


async def test_schedules_of_one_name_in_two_organisations_never_meet(harness):
    await harness.worker(declare("shared", shared=True))
    await harness.act_for(2)
    theirs = await create(harness, task="shared", queue="q", key="k")
    with pytest.raises(UnknownTask):
        await create(harness, name="other", task="t")  # the first organisation's own
    await harness.act_for(1)
    await harness.worker(declare("t"))
    ours = await create(harness, "Hourly", task="t")
    await harness.advance(MINUTE)
    assert [] == await slots(harness)
    with pytest.raises(ScheduleNotFound):
        await harness.schedules.get(theirs.id)
    with pytest.raises(ScheduleNotFound):
        await harness.schedules.trigger(theirs.id, TriggerSchedule())
    await harness.act_for(2)
    (run,) = await runs_of(harness)
    assert (run.organisation, run.task, run.queue, run.key) == (2, "shared", "q", "k")
    again = await harness.schedules.trigger("s", TriggerSchedule(overlap="allow"))
    assert (again.organisation, again.queue) == (2, "q")
    with pytest.raises(ScheduleNotFound):
        await harness.schedules.get(ours.id)
    assert [theirs.id] == [schedule.id for schedule in (await harness.schedules.page(None, "", 50))[0]]
