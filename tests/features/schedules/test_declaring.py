"""What becomes of a schedule that code declares, against whatever people do with it in between: walked whole."""

import itertools

import pytest
from msgspec.structs import replace

from headway.features.schedules.model import Schedule
from headway.features.schedules.rules.declaring import (
    GONE,
    declared,
    declared_again,
    declared_name,
    differs,
    left,
)

FIRST = declared(Schedule(id="s", name="s", task="t", occurrence="Daily", priority=1), 100)


def code(started_at, **said):
    """What code says that was started then."""
    return declared(replace(FIRST, declared=False, declaration="", **said), started_at)


def test_what_is_declared_as_before_changes_nothing_whoever_has_changed_what():
    for changes in ({}, {"occurrence": "Hourly"}, {"paused": True}, {"name": "other", "labels": {"a": "b"}}):
        kept = replace(FIRST, **changes)
        assert declared_again(kept, code(200), 7) == (kept, [])


@pytest.mark.parametrize(
    ("by_code", "by_hand", "after", "overruled"),
    [
        ({"priority": 2}, {}, {"priority": 2}, []),
        ({}, {"priority": 3}, {"priority": 3}, []),
        ({"priority": 2}, {"occurrence": "Hourly"}, {"priority": 2, "occurrence": "Hourly"}, []),
        ({"priority": 2}, {"priority": 3}, {"priority": 2}, ["priority"]),
        ({"priority": 2}, {"priority": 2}, {"priority": 2}, []),
        ({"occurrence": "Weekly"}, {"paused": True}, {"occurrence": "Weekly", "paused": True}, []),
        ({"priority": None}, {}, {"priority": None}, []),
    ],
)
def test_what_code_changes_is_changed_and_nothing_else(by_code, by_hand, after, overruled):
    said = code(200, **by_code)
    found, lost = declared_again(replace(FIRST, **by_hand), said, 7)
    wanted = {"declaration": said.declaration, "declared_at": 200} if by_code else {}
    assert (found, lost) == (replace(FIRST, **after, **wanted), overruled)


def test_of_several_versions_the_one_that_was_started_last_counts_in_whatever_order_they_come():
    versions = [code(200, priority=2), code(300, priority=3), None, code(250, priority=5)]
    for order in itertools.permutations(versions):
        kept = FIRST
        for said in order * 2:  # each of them comes again: the server was restarted
            kept = left(kept, 400) if said is None else declared_again(kept, said, 7)[0]
        assert (kept.declared, kept.paused, kept.problem) == (False, True, GONE)
        kept, _ = declared_again(kept, code(500, priority=4), 7)
        assert (kept.declared, kept.paused, kept.problem, kept.priority) == (True, False, "", 4)


def test_what_code_leaves_is_paused_and_goes_on_when_it_is_declared_again_without_what_it_missed():
    gone = left(replace(FIRST, last_slot=3), 200)
    assert (gone.paused, gone.problem, gone.declared) == (True, GONE, False)
    back, overruled = declared_again(gone, code(300), 7)
    assert (back.paused, back.problem, back.declared, back.last_slot, overruled) == (False, "", True, 7, [])


def test_who_has_paused_it_is_the_only_one_to_let_it_go_on():
    paused = replace(FIRST, paused=True)
    back, _ = declared_again(left(paused, 200), code(300, priority=9), 7)
    assert (back.paused, back.problem, back.priority) == (True, "", 9)


def test_who_lets_one_go_on_that_the_code_has_left_is_not_overruled_by_the_same_code():
    going_on = replace(left(FIRST, 200), paused=False, problem="")
    back, _ = declared_again(going_on, code(300), 7)
    assert (back.paused, back.declared) == (False, True)


def test_one_that_could_not_be_kept_to_goes_on_when_the_code_is_mended():
    broken = replace(FIRST, paused=True, problem="timezone: unknown")
    assert declared_again(broken, code(200), 7) == (broken, [])
    assert not declared_again(broken, code(200, timezone="Europe/Berlin"), 7)[0].paused


def test_in_what_a_schedule_is_not_as_the_code_says_is_told():
    changed = replace(FIRST, name="other", jitter_ms=5, paused=True)
    assert (differs(FIRST), differs(changed), declared_name(changed)) == ([], ["name", "jitter_ms"], "s")
    assert differs(left(changed, 200)) == differs(Schedule(id="x", occurrence="Daily")) == []
