"""Admission, held against oracles that count instead of calculating."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reachable import born

from headway.kernel.admission import Headroom, duplicates, in_fair_order, interval_us, may_debounce, starts_now
from headway.kernel.run import PARKED, State
from headway.kernel.task import Limit, Task
from headway.kernel.worker import Queue

limits = st.builds(Limit, count=st.integers(1, 20), period_ms=st.integers(1, 5_000))


class Bucket:
    """The oracle of a rate: a bucket of tokens, one drop an interval, in whole microseconds."""

    def __init__(self, limit):
        self.interval = interval_us(limit)
        self.depth = limit.period_ms * 1000
        self.level, self.at = self.depth, 0

    def refill(self, now_us):
        self.level = min(self.depth, self.level + now_us - self.at)
        self.at = now_us

    def take(self):
        if self.level < self.interval:
            return False
        self.level -= self.interval
        return True


@given(limits, st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 30)), max_size=30))
def test_a_rate_lets_through_what_a_bucket_of_tokens_does(limit, visits):
    task, bucket, saved, now_ms = Task(name="t", rate=limit), Bucket(limit), {}, 10**12
    bucket.at = now_ms * 1000
    for passed_ms, wanted in visits:
        now_ms += passed_ms
        bucket.refill(now_ms * 1000)
        room = Headroom({}, now_ms)
        room.know(saved)
        for _ in range(wanted):
            allowed = bucket.take()
            assert allowed == (room.of_lane(task, Queue("q", 0, None, 0, 0)) > 0) == (room.opens_at_ms(task) is None)
            if allowed:
                room.take(task, born(task))
        saved |= room.spent


@given(limits, st.integers(1, 10**12))
def test_a_rate_that_is_further_ahead_than_its_period_is_of_a_clock_that_was_set_back(limit, too_far_us):
    task, now_ms = Task(name="t", rate=limit), 10**9
    room = Headroom({}, now_ms)
    room.know({("t", ""): (now_ms + limit.period_ms) * 1000 + too_far_us})
    assert room.opens_at_ms(task) is None
    assert limit.count == room.of_lane(task, Queue("q", 0, None, 0, 0))


@given(limits, st.integers(0, 10**7))
def test_the_moment_at_which_a_rate_opens_is_the_first_one(limit, ahead_us):
    task, now_ms = Task(name="t", rate=limit), 10**9
    room = Headroom({}, now_ms)
    ahead_us %= limit.period_ms * 1000 + 1  # more there cannot be
    room.know({("t", ""): now_ms * 1000 + ahead_us})
    opens = room.opens_at_ms(task)
    if opens is None:
        assert starts_now(limit, now_ms * 1000 + ahead_us, now_ms * 1000) > 0
    else:
        assert starts_now(limit, now_ms * 1000 + ahead_us, opens * 1000) > 0
        assert starts_now(limit, now_ms * 1000 + ahead_us, (opens - 1) * 1000) == 0


@given(limits)
def test_a_rate_never_lets_more_than_its_count_start_at_once(limit):
    assert starts_now(limit, 0, 10**15) == limit.count


names = st.sampled_from("ab")
keys = st.sampled_from(["x", "y", None])
most = st.none() | st.integers(1, 3)


@given(most, most, most, st.lists(st.tuples(names, names, keys), max_size=12), st.lists(st.tuples(names, names, keys)))
def test_room_is_what_counting_leaves(of_task, in_queue, of_key, live, wanted):
    tasks = {name: Task(name=name, concurrency=of_task, concurrency_per_key=of_key) for name in "ab"}
    room, running = Headroom(dict(Counter(live)), 0), list(live)
    for task, queue, key in wanted:
        in_task = sum(1 for t, _, _ in running if t == task)
        queued = sum(1 for _, q, _ in running if q == queue)
        keyed = sum(1 for t, _, k in running if (t, k) == (task, key))
        line = Queue(queue, 0, in_queue, 0, 0)
        free = all(limit is None or limit > n for limit, n in ((of_task, in_task), (in_queue, queued)))
        assert free == (room.of_lane(tasks[task], line) > 0)
        blocked = key is not None and of_key is not None and keyed >= of_key
        assert (PARKED if blocked else None) == room.park_until(tasks[task], born(tasks[task], key=key))
        if free and not blocked:
            room.take(tasks[task], born(tasks[task], key=key, queue=queue))
            running.append((task, queue, key))


def test_a_rate_of_a_key_parks_until_a_moment_and_leaves_other_keys_alone():
    task = Task(name="t", rate_per_key=Limit(count=1, period_ms=1_000))
    room = Headroom({}, 5_000)
    room.take(task, born(task, key="k"))
    assert 6_000 == room.park_until(task, born(task, key="k"))
    assert room.park_until(task, born(task, key="other")) is None
    assert room.park_until(task, born(task, key=None)) is None


LIVE, OVER = born(Task(name="t")), born(Task(name="t"), state=State.FAILED)


@pytest.mark.parametrize(
    ("scope", "until", "first", "expected"),
    [
        ("active", None, LIVE, True), ("active", None, OVER, False), ("active", None, None, False),
        ("window", 11, OVER, True), ("window", 10, LIVE, False), ("window", 11, None, True),
        ("forever", None, None, True), ("forever", None, OVER, True),
    ],
)  # fmt: skip
def test_how_long_a_dedupe_key_counts(scope, until, first, expected):
    assert expected == duplicates(scope, until, first, 10)


@pytest.mark.parametrize("state", State)
def test_only_what_never_ran_may_still_be_given_another_input(state):
    waiting = state in (State.SCHEDULED, State.QUEUED)
    assert waiting == may_debounce(born(Task(name="t"), state=state))
    assert not may_debounce(born(Task(name="t"), state=state, epoch=1))


queues_of = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 2), st.integers(0, 50)), max_size=40
)  # organisation, priority, age


@given(queues_of, st.dictionaries(st.integers(1, 4), st.integers(0, 9)))
def test_each_organisation_has_its_turn_within_a_priority(waiting, served):
    runs = [
        born(Task(name="t"), id=f"{number:04}", organisation=organisation, priority=priority, run_at=due)
        for number, (organisation, priority, due) in enumerate(waiting)
    ]
    order = in_fair_order(runs, served)
    assert sorted(run.id for run in runs) == sorted(run.id for run in order)
    assert [run.priority for run in order] == sorted((run.priority for run in runs), reverse=True)
    for level in range(3):
        own = {n: [run for run in order if (run.organisation, run.priority) == (n, level)] for n in range(1, 5)}
        for mine in own.values():  # the oracle deals them out like cards
            assert sorted(mine, key=lambda run: (run.run_at, run.id)) == mine
        dealt = []
        while any(own.values()):
            heads = [mine.pop(0) for mine in own.values() if mine]
            dealt += sorted(heads, key=lambda run: (served.get(run.organisation, 0), run.run_at, run.id))
        assert dealt == [run for run in order if run.priority == level]
