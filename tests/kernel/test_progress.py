"""Progress: a rate that forgets, and an end that can be told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.reachable import BORN, TASKS, born

from headway.kernel.progress import advance, eta, percent
from headway.kernel.run import State

RUNNING = born(TASKS["plain"], state=State.RUNNING, worker_id="w", started_at=BORN)


def test_steady_work_has_a_steady_rate_and_a_true_end():
    run = RUNNING
    for second in range(1, 31):
        run = advance(run, second * 4, 400, "", BORN + second * 1000)
        assert pytest.approx(4) == run.progress_rate
    assert BORN + 100_000 == eta(run)


def test_the_rate_follows_a_change_of_pace_within_half_a_minute():
    run = advance(RUNNING, 100, None, "", BORN + 10_000)
    for second in range(30):
        run = advance(run, run.progress_done + 1, None, "", BORN + 11_000 + second * 1000)
    assert 1 < run.progress_rate < 1.5


def test_a_first_report_of_nothing_does_not_hold_the_rate_down():
    run = advance(RUNNING, 0, 100, "", BORN + 5)
    assert run.progress_rate is None
    for second in range(1, 31):
        run = advance(run, second * 10, 1000, "", BORN + second * 1000)
        assert pytest.approx(10) == run.progress_rate


def test_what_stood_still_at_first_is_not_told_as_faster_than_it_was():
    run = advance(advance(RUNNING, 0, None, "", BORN), 0, None, "", BORN + 4_000)
    assert pytest.approx(10) == advance(run, 50, None, "", BORN + 5_000).progress_rate


def test_a_later_attempt_is_measured_from_its_own_first_report():
    run = replace(RUNNING, epoch=2)
    run = advance(run, 0, None, "", BORN + 86_400_000)
    run = advance(run, 10, None, "", BORN + 86_401_000)
    assert pytest.approx(10) == run.progress_rate


@given(st.integers(1, 100), st.lists(st.integers(1, 5_000), min_size=1, max_size=30))
def test_steady_work_is_told_truly_however_often_it_reports(pace, waits):
    run, now = advance(RUNNING, 0, None, "", BORN), BORN
    for waited_ms in waits:
        now += waited_ms
        run = advance(run, pace * (now - BORN), None, "", now)
        assert pytest.approx(pace * 1000) == run.progress_rate


steps = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10**12)), max_size=20)


@given(steps)
def test_no_report_makes_the_numbers_silly(reports):
    run, now = RUNNING, BORN
    for passed_ms, done in reports:
        now += passed_ms
        run = advance(run, done, 10**12, "m", now)
        assert (done, now) == (run.progress_done, run.progress_at)
        assert run.progress_rate is None or run.progress_rate >= 0
        assert eta(run) is None or now <= eta(run) < now + 11 * 365 * 86_400_000


def test_two_reports_in_one_millisecond_leave_the_rate_alone():
    first = advance(RUNNING, 10, 100, "", BORN + 1000)
    assert first.progress_rate == advance(first, 99, 100, "", BORN + 1000).progress_rate


def test_what_starts_again_from_zero_does_not_go_backwards_in_rate():
    first = advance(RUNNING, 50, 100, "", BORN + 10_000)
    assert first.progress_rate == advance(first, 0, 100, "again", BORN + 11_000).progress_rate


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [(0, None, None), (0, 0, 100.0), (1, 3, 33.3), (2, 3, 66.6), (9999, 10_000, 99.9), (3, 3, 100.0), (5, 3, 100.0)],
)
def test_percents_are_100_only_when_all_is_done(done, total, expected):
    assert expected == percent(done, total)


def test_what_is_final_or_has_no_total_or_no_rate_has_no_end_to_tell():
    run = advance(RUNNING, 10, 100, "", BORN + 1000)
    assert eta(run) is not None
    assert eta(replace(run, state=State.FAILED)) is None
    assert eta(replace(run, progress_total=None)) is None
    assert eta(RUNNING) is None
