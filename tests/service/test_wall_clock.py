"""The wall clock may be set at any time: leases do not notice, and numbers keep the order."""

import pytest

from headway.clock import ManualClock
from headway.ids import IdSource
from headway.service.sessions import Sessions

DAY_MS = 86_400_000
LEASE_MS = 15_000


class SettableClock(ManualClock):
    """A wall clock that someone sets, beside a monotonic one that goes on."""

    set_by_ms = 0

    def now_ms(self):
        return super().now_ms() + self.set_by_ms


@pytest.mark.parametrize("set_by_ms", [-400 * DAY_MS, -3_600_000, 3_600_000, 400 * DAY_MS])
def test_setting_the_wall_clock_neither_ends_a_lease_nor_prolongs_it(set_by_ms):
    clock = SettableClock()
    sessions = Sessions(clock, lease_ms=LEASE_MS, disconnect_ms=1_000)
    session = sessions.open("worker")
    clock.set_by_ms = set_by_ms
    clock.advance(LEASE_MS - 1)
    assert sessions.lapsed() == []
    clock.advance(1)
    assert sessions.lapsed() == [session]


def test_ids_keep_their_order_when_the_wall_clock_is_set_back():
    source, clock = IdSource(), SettableClock()
    before = [source.new(clock.now_ms()) for _ in range(10)]
    clock.set_by_ms = -DAY_MS
    after = [source.new(clock.now_ms()) for _ in range(10)]
    assert sorted(before + after) == before + after
