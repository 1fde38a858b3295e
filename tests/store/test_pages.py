"""Pages: as many rows as asked for, or as much text as is good for everyone; nothing is left out between them."""

import itertools
import json
import tracemalloc

import msgspec
import pytest
from tests.harness import declare, raw, spec
from tests.running import of_sqlite

from headway.kernel.query import Page, RunFilter
from headway.kernel.run import State
from headway.protocol import workers as wire
from headway.store.lists import position
from headway.store.reader import PAGE_BYTES, WINDOWS

MIB = 1024 * 1024


async def large_runs(harness, number=12, size=MIB):
    """Start and finish runs with large outputs; return their ids."""
    worker = await harness.worker(declare("t"))
    return [(await harness.finished(worker, "x" * size, labels={"a": "b"})).id for _ in range(number)]


async def pages(read):
    """Return the pages of a list, one after the other."""
    found, after = [], None
    while after != "":
        page, after = await read(after)
        found.append([run.id for run in page])
    return found


def joined(pages):
    return [item for page in pages for item in page]


FILTERS = {
    "all": RunFilter(),
    "a state": RunFilter(state=(State.SUCCEEDED,)),
    "several states": RunFilter(state=(State.SUCCEEDED, State.FAILED)),
    "a task and a state": RunFilter(task=("t",), state=(State.SUCCEEDED,)),
    "a label": RunFilter(labels={"a": "b"}),
    "an end": RunFilter(finished_after=1),
}


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("name", [*FILTERS, "an end, in its order"])
async def test_a_page_of_large_runs_is_short_and_the_next_one_goes_on(disk, name, newest_first):
    ids = await large_runs(disk)
    wanted, by_end = FILTERS.get(name, RunFilter()), name not in FILTERS
    found = await pages(lambda after: disk.runs.page(wanted, Page(50, after, newest_first, by_end)))
    assert joined(found) == (ids[::-1] if newest_first else ids)
    assert {len(page) for page in found} == {3}, "with what else a run has, four of them are more than 4 MiB"


async def test_one_run_that_is_larger_than_a_page_is_a_page(harness):
    ids = await large_runs(harness, 3, PAGE_BYTES + 1)
    assert [[run_id] for run_id in ids] == await pages(
        lambda after: harness.runs.page(RunFilter(), Page(50, after, False))
    )


async def test_what_does_not_go_into_the_page_is_not_read(disk):
    await large_runs(disk, 40)
    for wanted, by_end in ((wanted, by_end) for wanted in FILTERS.values() for by_end in (False, True)):
        tracemalloc.start()
        await disk.runs.page(wanted, Page(1000, by_end=by_end))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 4 * PAGE_BYTES


async def test_text_that_is_not_ascii_counts_by_its_bytes(harness):
    worker = await harness.worker()
    for _ in range(3):
        await harness.finished(worker, "ü" * (MIB + MIB // 8))
    runs, after = await harness.runs.page(RunFilter(), Page())
    assert (1, runs[0].id) == (len(runs), after)


async def test_events_and_results_come_in_pages_of_so_much_text_and_without_gaps(harness):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    for number in range(6):
        await harness.tell(worker, lease, wire.ResultReport, name=f"r{number}", value=raw("x" * MIB))
    seen, after, more = [], 0, True
    while more:
        page, more = await harness.history.page(run.id, after, 100)
        seen.append([event.seq for event in page])
        after = seen[-1][-1]
    assert ([1, 2, 3, 4, 5, 6, 7, 8], 2) == (joined(seen), len(seen))
    feed, _, more = await harness.store.read.feed(1, 0, 100)
    few, _, also = await harness.store.read.feed(1, 0, 100, (run.id,))
    assert (feed, more) == (few, also)
    assert (5, True) == (len(feed), more)
    results, more = await harness.history.results(run.id, 0, 100)
    assert ([1, 2, 3], True) == ([result.number for result in results], more)
    assert 8 == len(await harness.history.events(run.id, 0, 100))
    told = harness.history.watch(run.id, 0, lambda: False)
    assert [1, 2, 3, 4, 5, 6, 7, 8] == [event.seq for event in [await anext(told) for _ in range(9)][1:]]
    await told.aclose()
    told = harness.history.feed(0, (), lambda: False)
    assert [1, 2, 3, 4, 5, 6, 7, 8] == [event.seq for event in [await anext(told) for _ in range(8)]]
    await told.aclose()


# -- what a list goes by ---------------------------------------------------------------------------------------------------


class Spy:
    """Notes the statements of lists on their way to the store."""

    def __init__(self, harness):
        self.said = []
        near = harness.store.read.near
        self._select, near.select_within = near.select_within, self._note

    def _note(self, bytes_max, sql, binds):
        self.said.append(sql)
        return self._select(bytes_max, sql, binds)


@of_sqlite("harness")
async def test_what_the_counters_know_not_to_be_there_is_not_looked_for(harness):
    await harness.worker(declare("t"), declare("u"))
    await harness.start("t")
    spy = Spy(harness)
    for wanted in (RunFilter(state=(State.FAILED,)), RunFilter(task=("u",)), RunFilter(task=("u",), state=(State.QUEUED,)),
                   RunFilter(queue=("none", "other"))):  # fmt: skip
        assert ([], "") == await harness.runs.page(wanted, Page())
        assert [] == await harness.store.read.ids(wanted, "", 10)
    assert [] == spy.said


async def test_a_list_by_the_end_of_runs_that_have_none_is_not_looked_for(harness):
    await harness.worker()
    await harness.start()
    spy = Spy(harness)
    assert ([], "") == await harness.runs.page(RunFilter(state=(State.QUEUED,)), Page(by_end=True))
    assert [] == spy.said


@of_sqlite("harness")
async def test_the_rarer_of_two_fields_leads(harness):
    await harness.worker(declare("t"), declare("u"))
    await harness.start_many(
        *[spec("t")] * 5, spec("u"), spec("u", delay="1h"), spec("t", delay="1h"), spec("t", delay="1h")
    )
    harness.store.read.window = 4
    spy = Spy(harness)
    assert 1 == len((await harness.runs.page(RunFilter(task=("u",), state=(State.QUEUED,)), Page()))[0])
    assert 2 == len((await harness.runs.page(RunFilter(task=("t",), state=(State.SCHEDULED,)), Page()))[0])
    assert ["runs_by_task" in spy.said[0], "runs_by_state" in spy.said[1]] == [True, True]


@of_sqlite("harness")
@pytest.mark.parametrize("rare", [RunFilter(labels={"few": "1"}), RunFilter(state=(State.SCHEDULED,))])
async def test_what_is_rarer_than_a_label_leads(harness, rare):
    await harness.worker()
    for number in range(9):
        await harness.start(labels={"all": "x", "few": str(number // 7)}, delay="1h" if number > 6 else None)
    harness.store.read.window = 4
    spy = Spy(harness)
    wanted = RunFilter(labels={"all": "x", **rare.labels}, state=rare.state)
    assert 2 == len((await harness.runs.page(wanted, Page()))[0])
    assert ("run_labels AS one CROSS JOIN" in spy.said[0]) == bool(rare.labels)
    assert not rare.labels or "runs.id = one.run_id AND one.name = :label_name_1" in spy.said[0]


@of_sqlite("harness")
async def test_few_that_ended_lately_are_found_by_their_end_and_many_by_walking(harness):
    worker = await harness.worker()
    for _ in range(3):
        await harness.finished(worker)
    for _ in range(10):
        await harness.start()
    spy = Spy(harness)
    for window in (9, 2):
        harness.store.read.window = window
        await harness.runs.page(RunFilter(finished_after=1), Page())
    assert ["runs_by_end" in spy.said[0], "runs_by_end" in spy.said[-1]] == [True, False]


# -- windows ---------------------------------------------------------------------------------------------------------------


async def test_a_page_looks_at_so_many_runs_only_and_says_where_the_next_one_goes_on(harness):
    await harness.worker(declare("t"), declare("u"))
    last = await harness.start("u", labels={"a": "b"})
    for _ in range(WINDOWS * 2):
        await harness.start("t", labels={"a": "b"})
        await harness.start("u")
    wanted = RunFilter(task=("u",), labels={"a": "b"})
    assert [[last.id]] == await pages(lambda after: harness.runs.page(wanted, Page(after=after)))
    harness.store.read.window = 1
    spy = Spy(harness)
    runs, after = await harness.runs.page(wanted, Page())
    assert ([], True, WINDOWS) == (runs, after > last.id, len(spy.said))
    assert [last.id] == joined(await pages(lambda at: harness.runs.page(wanted, Page(after=at or after))))


WANTED = {
    "all": {},
    "end": {"finished_after": 2, "finished_before": 19},
    "end.after": {"finished_after": 7},
    "end.before": {"finished_before": 15},
    "end+state": {"finished_after": 3, "state": (State.SUCCEEDED,)},
    "end+states": {"finished_before": 18, "state": (State.FAILED, State.QUEUED, State.SUCCEEDED)},
    "end+created": {"finished_after": 9, "created_before": 12, "created_after": 4},
    "end+task": {"finished_after": 2, "finished_before": 19, "task": ("t",)},
    "states+tasks": {"state": (State.FAILED, State.SUCCEEDED), "task": ("t", "u"), "queue": ("q",)},
    "label": {"labels": {"odd": "1"}, "created_after": 3, "created_before": 15},
    "labels": {"labels": {"odd": "1", "third": "2"}},
    "label+state": {"labels": {"odd": "1"}, "state": (State.SUCCEEDED,)},
    "label+states+task": {"labels": {"third": "1"}, "state": (State.SUCCEEDED, State.QUEUED), "task": ("u",)},
    "label+end": {"labels": {"odd": "0"}, "finished_after": 2},
    "key+queue": {"key": "k1", "queue": ("q",)},
    "key+end+label": {"key": "k0", "finished_before": 15, "labels": {"third": "0"}},
    "parent+state": {"parent_id": "", "state": (State.SUCCEEDED, State.QUEUED)},
    "root+label": {"root_id": "", "labels": {"odd": "1"}},
}


async def a_mixture(harness):
    """Make runs of all kinds, a millisecond each; the later half ends in another order than it began."""
    worker = await harness.worker(declare("t"), declare("u"), queues=["q", "r"], capacity=50)
    root, born = await harness.start("t", queue="r"), harness.clock.now_ms()
    for number in range(20):
        harness.clock.advance(1)
        await harness.start(
            "tu"[number % 2], queue="qr"[number % 3 == 0], priority=number % 4, key=f"k{number % 2}",
            labels={"odd": str(number % 2), "third": str(number % 3)}, parent_id=root.id if number % 4 else None,
        )  # fmt: skip
        if number % 5 == 4:
            for lease in await harness.claim(worker, 3):
                await (harness.succeed if number % 2 else harness.fail)(worker, lease)
    return root, born


def is_wanted(run, wanted):
    labels = json.loads(run.labels)
    return (
        all(
            not getattr(wanted, name) or getattr(run, name) in getattr(wanted, name)
            for name in ("state", "task", "queue")
        )
        and all(getattr(wanted, name) in (None, getattr(run, name)) for name in ("parent_id", "root_id", "key"))
        and all(labels.get(name) == value for name, value in wanted.labels.items())
        and (wanted.created_after is None or run.created_at >= wanted.created_after)
        and (wanted.created_before is None or run.created_at < wanted.created_before)
        and (wanted.finished_after is None or (run.finished_at or 0) >= wanted.finished_after)
        and (wanted.finished_before is None or (run.finished_at or 10**15) < wanted.finished_before)
    )


@pytest.mark.parametrize("name", WANTED)
async def test_whatever_is_looked_at_at_once_all_pages_have_each_run_once_and_in_order(harness, name):
    root, born = await a_mixture(harness)
    fields = {
        field: root.id if field in ("parent_id", "root_id") else born + value if type(value) is int else value
        for field, value in WANTED[name].items()
    }
    wanted = RunFilter(**fields)
    everything, _ = await harness.runs.page(RunFilter(), Page(1000))
    fit = [run for run in everything if is_wanted(run, wanted)]
    assert fit
    for window, size, newest_first, by_end in itertools.product(
        (1, 2, 5, 1000), (1, 3, 50), (True, False), (True, False)
    ):
        harness.store.read.window = window
        runs = [run for run in fit if run.finished_at is not None or not by_end]
        runs.sort(key=lambda run: position((run.finished_at, run.id)) if by_end else run.id, reverse=newest_first)
        at = Page(size, None, newest_first, by_end)
        found = await pages(lambda after, at=at: harness.runs.page(wanted, msgspec.structs.replace(at, after=after)))
        assert [run.id for run in runs] == joined(found), (window, size, newest_first, by_end)
        assert max(map(len, found)) <= size
        assert sorted(run.id for run in fit) == await harness.store.read.ids(wanted, "", 1000)
