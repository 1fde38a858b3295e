"""Slots that are due, under every policy: the whole table, and what holds in every case."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.features.schedules.model import CatchUp, Overlap, Schedule
from headway.features.schedules.rules.occurrence import timetable
from headway.features.schedules.rules.policy import (
    MISSED_MOST,
    SAID,
    Action,
    Why,
    decide_slots,
    preview,
    run_at,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
NOON = 1_767_268_800_000  # 2026-01-01T12:00Z
MAKES_A_RUN = {Action.RUN, Action.QUEUE, Action.CANCEL_AND_RUN}


def schedule(**options):
    return Schedule(id="s", **{"occurrence": "Every Minute"} | options)


def decided(last, now, running, **options):
    return [
        ((slot.nominal - NOON) // MINUTE, slot.action.value, slot.why.value)
        for slot in decide_slots(schedule(**options), NOON + last * MINUTE, NOON + now, running)
    ]


ON_TIME = 500
"""Of one slot, at minute 1, noticed half a second late."""


@pytest.mark.parametrize(
    ("overlap", "running", "action", "why"),
    [
        ("skip", 0, "run", "due"),
        ("skip", 1, "skip", "running"),
        ("queue", 0, "run", "due"),
        ("queue", 1, "queue", "due"),
        ("queue", 100, "skip", "queue_full"),
        ("cancel_running", 0, "run", "due"),
        ("cancel_running", 2, "cancel_and_run", "due"),
        ("allow", 0, "run", "due"),
        ("allow", 7, "run", "due"),
    ],
)
@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_slot_in_time_is_decided_by_overlap_alone(overlap, running, action, why, catch_up):
    got = decided(0, MINUTE + ON_TIME, running, overlap=Overlap(overlap), catch_up=catch_up)
    assert got == [(1, action, why)]


LATE = 13 * MINUTE
"""Of the slots at minutes 1, 2, 3 of `UNTIL_THREE`."""


@pytest.mark.parametrize(
    ("catch_up", "overlap", "running", "expected"),
    [
        ("latest", "skip", 0, ["missed newer", "missed newer", "run caught_up"]),
        ("latest", "skip", 1, ["missed newer", "missed newer", "skip running"]),
        ("latest", "queue", 0, ["missed newer", "missed newer", "run caught_up"]),
        ("latest", "queue", 1, ["missed newer", "missed newer", "queue caught_up"]),
        ("latest", "cancel_running", 0, ["missed newer", "missed newer", "run caught_up"]),
        ("latest", "cancel_running", 1, ["missed newer", "missed newer", "cancel_and_run caught_up"]),
        ("latest", "allow", 0, ["missed newer", "missed newer", "run caught_up"]),
        ("latest", "allow", 1, ["missed newer", "missed newer", "run caught_up"]),
        ("all", "skip", 0, ["run caught_up", "skip running", "skip running"]),
        ("all", "skip", 1, ["skip running", "skip running", "skip running"]),
        ("all", "queue", 0, ["run caught_up", "queue caught_up", "queue caught_up"]),
        ("all", "queue", 1, ["queue caught_up", "queue caught_up", "queue caught_up"]),
        ("all", "queue", 98, ["queue caught_up", "queue caught_up", "skip queue_full"]),
        ("all", "cancel_running", 0, ["skip newer", "skip newer", "run caught_up"]),
        ("all", "cancel_running", 1, ["skip newer", "skip newer", "cancel_and_run caught_up"]),
        ("all", "allow", 0, ["run caught_up", "run caught_up", "run caught_up"]),
        ("all", "allow", 1, ["run caught_up", "run caught_up", "run caught_up"]),
        *(("skip", overlap, running, ["missed late"] * 3) for overlap in Overlap for running in (0, 1)),
    ],
)
def test_late_slots_go_through_catch_up_and_then_overlap(catch_up, overlap, running, expected):
    options = {"catch_up": CatchUp(catch_up), "overlap": Overlap(overlap), "ends_at": NOON + 3 * MINUTE}
    got = decided(0, LATE, running, **options)
    assert [slot for slot, _, _ in got] == [1, 2, 3]
    assert [f"{action} {why}" for _, action, why in got] == expected


def test_all_runs_no_more_than_its_bounds_say():
    options = {"catch_up": CatchUp.ALL, "overlap": Overlap.ALLOW, "late_after_ms": 0}
    got = decided(0, 10 * MINUTE, 0, catch_up_max=3, **options)
    assert [(action, why) for _, action, why in got] == [("missed", "too_many")] * 7 + [("run", "caught_up")] * 2 + [
        ("run", "due")
    ]
    got = decided(0, 10 * MINUTE, 0, catch_up_window_ms=2 * MINUTE, **options)
    assert [(action, why) for _, action, why in got] == [("missed", "too_old")] * 7 + [("run", "caught_up")] * 2 + [
        ("run", "due")
    ]


def test_the_default_catches_up_with_a_hundred_within_a_day():
    got = decide_slots(schedule(catch_up=CatchUp.ALL, overlap=Overlap.ALLOW), NOON, NOON + 48 * HOUR, 0)
    assert sum(slot.action is Action.RUN for slot in got) == 100
    hourly = schedule(occurrence="Hourly", catch_up=CatchUp.ALL, overlap=Overlap.ALLOW)
    got = decide_slots(hourly, NOON, NOON + 48 * HOUR, 0)
    assert [slot.action.value for slot in got] == ["missed"] * 23 + ["run"] * 25  # the one of 24 hours ago is within


def test_with_latest_the_newest_runs_however_late():
    yearly = schedule(occurrence="Yearly")
    got = decide_slots(yearly, NOON - 400 * 24 * HOUR, NOON + 300 * 24 * HOUR, 0)
    assert [slot.action.value for slot in got] == ["missed", "run"]


def test_a_clock_that_was_set_back_fires_nothing_again():
    first = decide_slots(schedule(), NOON, NOON + 5 * MINUTE, 0)
    last = first[-1].nominal
    assert not any(decide_slots(schedule(), last, now, 0) for now in range(last - HOUR, last + MINUTE, 7_777))
    assert [slot.nominal for slot in decide_slots(schedule(), last, last + MINUTE, 0)] == [last + MINUTE]


def test_a_year_away_is_few_decisions_that_leave_no_slot_out():
    got = decide_slots(schedule(), NOON, NOON + 366 * 24 * HOUR, 0)
    assert len(got) == MISSED_MOST + 2
    assert (got[0].nominal, got[0].action, got[0].why) == (NOON + MINUTE, Action.MISSED, Why.NEWER)
    assert got[0].until == got[1].nominal - MINUTE
    assert [slot.until for slot in got[1:]] == [None] * (MISSED_MOST + 1)
    assert [b.nominal - a.nominal for a, b in pairwise(got[1:])] == [MINUTE] * MISSED_MOST
    assert (got[-1].nominal, got[-1].action) == (NOON + 366 * 24 * HOUR, Action.RUN)


SPACE = list(product(CatchUp, Overlap, (0, 1, 99, 100), (0, 1, 2, 5, 102, 103, 400), (0, MINUTE, 45 * MINUTE)))


def test_in_every_case_each_slot_is_decided_once_and_the_policies_hold():
    assert len(SPACE) == 1008
    for catch_up, overlap, running, slots, idle in SPACE:
        case = schedule(catch_up=catch_up, overlap=overlap, ends_at=NOON + slots * MINUTE)
        now = NOON + slots * MINUTE + idle
        got = decide_slots(case, NOON, now, running)
        covered = [at for slot in got for at in range(slot.nominal, (slot.until or slot.nominal) + 1, MINUTE)]
        assert covered == [NOON + n * MINUTE for n in range(1, slots + 1)]
        assert all(slot.action is Action.MISSED for slot in got if slot.until is not None)
        runs = [slot for slot in got if slot.action in MAKES_A_RUN]
        assert all(slot.why in SAID for slot in got)
        if slots == 0:
            continue
        if overlap in {Overlap.ALLOW, Overlap.CANCEL_RUNNING} and (catch_up is not CatchUp.SKIP or idle <= MINUTE):
            assert runs[-1].nominal == NOON + slots * MINUTE
        if catch_up is not CatchUp.ALL or overlap in {Overlap.SKIP, Overlap.CANCEL_RUNNING}:
            assert len(runs) <= 1
        if catch_up is CatchUp.ALL and overlap is Overlap.ALLOW:
            assert len(runs) == min(slots, 100)
        if overlap is Overlap.SKIP and running:
            assert runs == []
        if overlap is Overlap.QUEUE:
            assert len(runs) + running <= max(case.queue_max, running)
        assert sum(slot.action is Action.RUN for slot in runs) <= (
            len(runs) if overlap is Overlap.ALLOW else running == 0
        )


@given(st.data())
def test_deciding_in_pieces_leaves_no_slot_out_and_repeats_none(data):
    case = schedule(occurrence="*/7 * * * *", catch_up=CatchUp.ALL, overlap=Overlap.ALLOW, timezone="Europe/Berlin")
    last, fired = NOON, []
    for step in data.draw(st.lists(st.integers(-2 * HOUR, 3 * HOUR), max_size=20)):
        now = (fired[-1] if fired else NOON) + step
        got = decide_slots(case, last, now, 0)
        fired += [slot.nominal for slot in got if slot.action is Action.RUN]
        last = got[-1].nominal if got else last
    assert fired == list(timetable(case).between(NOON, last))


@given(st.text(min_size=1, max_size=40), st.integers(NOON, NOON + 10**10), st.integers(1, HOUR))
def test_jitter_is_always_the_same_and_ends_before_the_next_slot(name, now, most):
    case = Schedule(id=name, occurrence="*/10 * * * *", jitter_ms=most)
    slot = timetable(case).next_after(now)
    assert run_at(case, slot) == run_at(case, slot)
    assert slot <= run_at(case, slot) <= slot + min(most, 10 * MINUTE - 1)


def test_jitter_spreads_schedules_and_slots():
    cases = [Schedule(id=f"s{n}", occurrence="Hourly", jitter_ms=HOUR // 2) for n in range(1000)]
    late = [run_at(case, NOON) - NOON for case in cases]
    assert len(set(late)) > 990
    assert 0.45 < sum(late) / len(late) / (HOUR // 2) < 0.55
    assert len({run_at(cases[0], NOON + n * HOUR) - n * HOUR for n in range(100)}) > 95
    assert (
        run_at(Schedule(id="s1", occurrence="Hourly", jitter_ms=HOUR // 2), NOON) == NOON + 1_745_715
    )  # on any machine


def test_a_preview_shows_the_next_slots_as_the_zone_has_them():
    case = schedule(occurrence="30 2 * * *", timezone="Europe/Berlin", ends_at=1_774_918_000_000)
    shown = preview(case, 1_774_656_000_000, 10)
    assert [slot.local for slot in shown] == [
        "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00",
    ]  # fmt: skip
    assert [slot.run_at for slot in shown] == [slot.nominal for slot in shown]
    assert len(preview(schedule(), NOON, 10**9)) == 1000


@given(
    st.sampled_from(["* * * * *", "*/13 3 * * *", "0 0 29 2 *", "every 1s", "every 9h", "30 2 * * SUN", "* * * JAN *"]),
    st.integers(NOON, NOON + 400 * 24 * HOUR),
    st.integers(1, 30 * 24 * HOUR),
)
def test_the_newest_slots_are_found_without_walking(text, until, span):
    table = timetable(schedule(occurrence=text, timezone="America/New_York"))
    newest = table.newest(until, until - span, 5)
    if newest:
        assert list(table.between(newest[0] - 1, until))[-5:] == newest
    if len(newest) < 5:
        assert list(table.between(until - span, until)) == newest
