"""Windows of rate limits, as pure functions."""

from hypothesis import given
from hypothesis import strategies as st

from headway.web.ratelimits import DAY_MS, MINUTE_MS, Window, spent

NOW = 1_800_000_000_000


@given(st.integers(1, 20), st.lists(st.integers(0, 3 * MINUTE_MS), max_size=60))
def test_no_window_takes_more_than_its_limit(limit, pauses):
    window, now, taken = Window(MINUTE_MS, limit), NOW, {}
    for pause in pauses:
        now += pause
        place = now // MINUTE_MS
        over = spent((window,), now)
        assert (over is None) == (taken.get(place, 0) < limit)
        taken[place] = taken.get(place, 0) + (over is None)
    assert all(count <= limit for count in taken.values())


def test_what_one_window_refuses_no_other_counts():
    minute, day = Window(MINUTE_MS, 5), Window(DAY_MS, 2)
    assert [spent((minute, day), NOW) for _ in range(4)] == [None, None, day, day]
    assert (minute.mine, day.mine) == (2, 2)


def test_what_other_servers_have_counted_is_not_left_here():
    window = Window(MINUTE_MS, 5)
    window.left(NOW)
    window.resume(window.started_at, 1, 3)
    assert window.left(NOW) == 1
    window.resume(window.started_at - MINUTE_MS, 5, 5)  # of a window that is over
    assert window.left(NOW) == 1
    assert window.left(NOW + MINUTE_MS) == 5


def test_a_clock_that_was_set_back_does_not_close_a_window_for_ever():
    window = Window(MINUTE_MS, 1)
    assert spent((window,), NOW + DAY_MS) is None
    assert spent((window,), NOW) is None
