"""Pages: as many rows as asked for, or as much text as is good for everyone; nothing is left out between them."""

import tracemalloc

import pytest
from tests.running import disk, pytest_pyfunc_call, runner, world
from tests.world import declare, raw, spec

from headway.model.query import Page, RunFilter
from headway.model.run import State
from headway.storage.reader import FEW, PAGE_BYTES
from headway.wire import workers as wire

__all__ = ["disk", "pytest_pyfunc_call", "runner", "world"]

MIB = 1024 * 1024


async def large_runs(world, number=12, size=MIB):
    """Start and finish runs with large outputs; return their ids."""
    worker = await world.worker(declare("t"))
    return [(await world.finished(worker, "x" * size, labels={"a": "b"})).id for _ in range(number)]


async def pages(read):
    """Return the pages of a list, one after the other."""
    found, after, more = [], None, True
    while more:
        page, more = await read(after)
        found.append([run.id for run in page])
        after = found[-1][-1]
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
@pytest.mark.parametrize("name", FILTERS)
async def test_a_page_of_large_runs_is_short_and_the_next_one_goes_on(disk, name, newest_first):
    ids = await large_runs(disk)
    found = await pages(lambda after: disk.runs.page(FILTERS[name], Page(50, after, newest_first)))
    assert joined(found) == (ids[::-1] if newest_first else ids)
    assert {len(page) for page in found} == {3}, "with what else a run has, four of them are more than 4 MiB"


async def test_one_run_that_is_larger_than_a_page_is_a_page(world):
    ids = await large_runs(world, 3, PAGE_BYTES + 1)
    assert [[run_id] for run_id in ids] == await pages(
        lambda after: world.runs.page(RunFilter(), Page(50, after, False))
    )


async def test_what_does_not_go_into_the_page_is_not_read(disk):
    await large_runs(disk, 40)
    for wanted in FILTERS.values():
        tracemalloc.start()
        await disk.runs.page(wanted, Page(1000))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 4 * PAGE_BYTES


async def test_text_that_is_not_ascii_counts_by_its_bytes(world):
    worker = await world.worker()
    for _ in range(3):
        await world.finished(worker, "ü" * (MIB + MIB // 8))
    runs, more = await world.runs.page(RunFilter(), Page())
    assert (1, True) == (len(runs), more)


async def test_events_and_results_come_in_pages_of_so_much_text_and_without_gaps(world):
    worker = await world.worker()
    run = await world.start()
    lease = await world.one(worker)
    for number in range(6):
        await world.tell(worker, lease, wire.ResultReport, name=f"r{number}", value=raw("x" * MIB))
    seen, after, more = [], 0, True
    while more:
        page, more = await world.history.page(run.id, after, 100)
        seen.append([event.seq for event in page])
        after = seen[-1][-1]
    assert ([1, 2, 3, 4, 5, 6, 7, 8], 2) == (joined(seen), len(seen))
    feed, more = await world.store.read.feed(0, 100)
    few, also = await world.store.read.feed(0, 100, (run.id,))
    assert (feed, more) == (few, also)
    assert (5, True) == (len(feed), more)
    results, more = await world.history.results(run.id, 0, 100)
    assert ([1, 2, 3], True) == ([result.number for result in results], more)
    assert 8 == len(await world.history.events(run.id, 0, 100))
    told = world.history.watch(run.id, 0, lambda: False)
    assert [1, 2, 3, 4, 5, 6, 7, 8] == [event.seq for event in [await anext(told) for _ in range(9)][1:]]
    await told.aclose()
    told = world.history.feed(0, (), lambda: False)
    assert [1, 2, 3, 4, 5, 6, 7, 8] == [event.seq for event in [await anext(told) for _ in range(8)]]
    await told.aclose()


# -- what a list goes by ---------------------------------------------------------------------------------------------------


class Spy:
    """Notes the statements of lists on their way to the store."""

    def __init__(self, world):
        self.said = []
        near = world.store.read.near
        self._select, near.select_within = near.select_within, self._note

    def _note(self, bytes_max, sql, binds):
        self.said.append(sql)
        return self._select(bytes_max, sql, binds)


async def test_what_the_counters_know_not_to_be_there_is_not_looked_for(world):
    await world.worker(declare("t"), declare("u"))
    await world.start("t")
    spy = Spy(world)
    for wanted in (RunFilter(state=(State.FAILED,)), RunFilter(task=("u",)), RunFilter(task=("u",), state=(State.QUEUED,)),
                   RunFilter(queue=("none", "other"))):  # fmt: skip
        assert ([], False) == await world.runs.page(wanted, Page())
        assert [] == await world.store.read.ids(wanted, "", 10)
    assert [] == spy.said


async def test_the_rarer_of_two_fields_leads(world):
    await world.worker(declare("t"), declare("u"))
    await world.start_many(
        *[spec("t")] * 5, spec("u"), spec("u", delay="1h"), spec("t", delay="1h"), spec("t", delay="1h")
    )
    spy = Spy(world)
    assert 1 == len((await world.runs.page(RunFilter(task=("u",), state=(State.QUEUED,)), Page()))[0])
    assert 2 == len((await world.runs.page(RunFilter(task=("t",), state=(State.SCHEDULED,)), Page()))[0])
    assert ["runs_by_task" in spy.said[0], "runs_by_state" in spy.said[1]] == [True, True]


async def test_the_rarer_of_two_labels_leads(world):
    await world.worker()
    for number in range(6):
        await world.start(labels={"all": "x", "few": str(number // 5)})
    wanted = RunFilter(labels={"all": "x", "few": "1"})
    assert 1 == len((await world.runs.page(wanted, Page()))[0])
    binds = []
    world.store.read.near.select_within = lambda _, sql, given: (binds.append(given), ([], False))[1]
    await world.runs.page(wanted, Page())
    assert ("few", "1") == (binds[0]["label_name_0"], binds[0]["label_value_0"])


async def test_few_that_ended_lately_are_found_by_their_end_and_many_by_walking(world):
    worker = await world.worker()
    await world.finished(worker)
    await world.start()
    spy = Spy(world)
    wanted = RunFilter(finished_after=world.clock.now_ms() - 1)
    assert 1 == len((await world.runs.page(wanted, Page()))[0])
    assert "runs_by_end" in spy.said[0]
    world.store.read.near.select = lambda sql, binds: [(FEW,)]
    assert 1 == len((await world.runs.page(wanted, Page()))[0])
    assert "runs_by_end" not in spy.said[1]
