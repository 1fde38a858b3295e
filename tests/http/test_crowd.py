"""How many starts are let in is learnt from how long they take."""

import pytest

from headway.errors import Overloaded
from headway.http import crowd as module
from headway.http.crowd import FIRST, LIMITS, SOON_S, Crowd


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 0.0

    monkeypatch.setattr(module, "monotonic", lambda: Clock.now_s)
    return Clock


def passes(crowd, clock, number, takes_s):
    """Let so many in at once, and let each take so long."""
    entered = [crowd.enter() for _ in range(number)]
    clock.now_s += takes_s
    for entered_s in entered:
        crowd.leave(entered_s)


def test_whoever_comes_to_a_crowd_is_refused_until_somebody_has_left(clock):
    crowd = Crowd()
    entered = [crowd.enter() for _ in range(FIRST)]
    with pytest.raises(Overloaded):
        crowd.check()
    crowd.leave(entered[0])
    crowd.check()


def test_late_answers_make_it_smaller_once_for_all_that_were_late_together(clock):
    crowd = Crowd()
    passes(crowd, clock, FIRST, SOON_S * 2)
    assert FIRST / 2 < crowd.limit < FIRST
    for _ in range(50):
        passes(crowd, clock, FIRST, SOON_S * 2)
    assert crowd.limit == LIMITS[0], "some are let in however slow it is"
    crowd.check()


def test_answers_in_time_make_it_larger_only_where_it_is_nearly_reached(clock):
    crowd = Crowd()
    passes(crowd, clock, 10, SOON_S / 10)
    assert crowd.limit == FIRST
    for _ in range(100):
        passes(crowd, clock, FIRST, SOON_S / 10)
    assert FIRST < crowd.limit <= LIMITS[1]
    assert crowd.inside == 0
