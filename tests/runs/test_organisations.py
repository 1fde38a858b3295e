"""Organisations: what is another's is not there, whatever is asked of it and however; and shared work is dealt out fairly."""

import asyncio
import json
from contextlib import aclosing

import pytest
from tests.commands import FunctionCommand
from tests.harness import declare, key, make_organisation, raw, spec

from headway.errors import BadCursor, Forbidden, HeadwayError, InvalidInput, QueueNotFound, TaskNotFound, UnknownTask
from headway.kernel.namespace import MARK, Namespace
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import Reason, State
from headway.protocol import workers as wire
from headway.protocol.runs import PatchRun, RunQuery, SignalRun, StartBatch, Terminate
from headway.runs.built_in import bulk
from headway.server import NATIVE_SURFACE
from headway.web.asgi import Api
from headway.web.metrics import exposition
from headway.web.paging import next_token, page_of
from headway.worker.declaration.app import App

NOBODY = "0199f2a4-7c3e-7000-9b1a-5d0c2e4f6a81"
WHY = Reason(code="test")


async def shared_by(harness, *numbers):
    """Let organisations share the store; return the services of each."""
    for number in numbers:
        await harness.store.write(FunctionCommand(lambda uow, number=number: make_organisation(uow, number)))
    return [harness.service.of(number) for number in numbers]


async def employed(services, *tasks, **fields):
    """Register a worker of the organisation; return its id."""
    asked = wire.RegisterWorker(tasks=list(tasks or (declare(),)), **fields)
    return (await services.workers.register(asked)).id


async def begun(services, task="t", given=None, **fields):
    return (await services.runs.start(spec(task, given, **fields))).run


async def claimed(services, worker, most=100):
    return await services.workers.claim(wire.ClaimRuns(worker_id=worker, max=most))


async def ended(services, worker, lease):
    done = wire.SucceededReport(run_id=lease.run_id, epoch=lease.epoch, output=raw("secret"))
    assert not (await services.workers.report(wire.ReportRuns(worker_id=worker, reports=[done]))).rejected


async def refused(asking):
    """Return how something is refused, with nothing in it that names what was asked for."""
    with pytest.raises(HeadwayError) as caught:
        await asking
    error = caught.value
    return type(error), error.status, error.detail, str(error.errors), str(error.fields)


# -- one run ---------------------------------------------------------------------------------------------------------------


async def _watched(services, run_id):
    async with aclosing(services.history.watch(run_id, 0, lambda: False)) as told:
        return await anext(told)


ABOUT_A_RUN = {
    "get": lambda services, run: services.runs.get(run),
    "stored": lambda services, run: services.runs.stored(run),
    "wait": lambda services, run: services.runs.wait(run, 0, lambda run: True),
    "patch": lambda services, run: services.runs.patch(run, PatchRun(name="mine", queue="q", labels={"a": "b"}), None),
    "patch a version": lambda services, run: services.runs.patch(run, PatchRun(name="mine"), 1),
    "patch nothing": lambda services, run: services.runs.patch(run, PatchRun(), None),
    "terminate": lambda services, run: services.runs.terminate(run, Terminate()),
    "suspend": lambda services, run: services.runs.suspend(run, WHY),
    "resume": lambda services, run: services.runs.resume(run, WHY),
    "signal": lambda services, run: services.runs.signal(run, SignalRun(name="go")),
    "retry": lambda services, run: services.runs.retry(run, WHY),
    "retry again": lambda services, run: services.runs.retry(run, WHY, key("k")),
    "protect": lambda services, run: services.runs.protect(run, protected=True),
    "delete": lambda services, run: services.runs.delete(run),
    "history": lambda services, run: services.history.page(run, 0, 10),
    "logs": lambda services, run: services.history.events(run, 0, 10, "run.log"),
    "results": lambda services, run: services.history.results(run, 0, 10),
    "attempts": lambda services, run: services.history.attempts(run),
    "waiting": lambda services, run: services.history.waiting(run),
    "watch": _watched,
    "start under": lambda services, run: services.runs.start(spec(parent_id=run)),
}


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "terminated", "removed"])
@pytest.mark.parametrize("verb", ABOUT_A_RUN)
async def test_a_run_of_another_is_answered_as_one_that_is_not_there(harness, verb, state):
    (two,) = await shared_by(harness, 2)
    await employed(two)
    worker = await harness.worker()
    run = await harness.start(labels={"a": "b"})
    if state in ("running", "succeeded", "removed"):
        lease = await harness.one(worker)
    if state in ("succeeded", "removed"):
        await harness.tell(worker, lease, wire.ResultReport, value=raw(1))
        await harness.succeed(worker, lease)
    if state == "removed":
        await harness.runs.delete(run.id)
    if state == "terminated":
        await harness.stop(run.id)
    before = harness.dump()
    theirs = await refused(ABOUT_A_RUN[verb](two, run.id))
    nobodys = await refused(ABOUT_A_RUN[verb](two, NOBODY))
    assert nobodys == tuple(part.replace(run.id, NOBODY) if isinstance(part, str) else part for part in theirs)
    assert before == harness.dump()


async def test_a_batch_refuses_parents_of_another_and_starts_the_rest(harness):
    (two,) = await shared_by(harness, 2)
    await employed(two)
    await harness.worker()
    theirs = await harness.start()
    first, second = await two.runs.start_batch(StartBatch(runs=[spec(parent_id=theirs.id), spec()]))
    assert isinstance(first, InvalidInput)
    assert 2 == (await two.runs.stored(second.run.id)).organisation
    assert [] == (await harness.runs.page(RunFilter(parent_id=theirs.id), Page()))[0]


# -- the same names ----------------------------------------------------------------------------------------------------------


async def test_the_same_names_in_two_organisations_never_meet(harness):
    (two,) = await shared_by(harness, 2)
    mine = await harness.worker(declare("t", version="a", concurrency_per_key=1), queues=["q"])
    theirs = await employed(two, declare("t", version="b", concurrency_per_key=1), queues=["q"])
    dedupe = {"key": "order", "scope": "forever", "on_conflict": "reject"}
    started = [
        await services.runs.start(
            spec(queue="q", key="k", labels={"c": "7"}, dedupe=dedupe), key("once", bytes(str(number), "ascii"))
        )
        for number, services in enumerate((harness.services, two))
    ]
    assert [(True, False, "a"), (True, False, "b")] == [
        (one.created, one.replayed, one.run.task_version) for one in started
    ]
    assert [("t", "q", "k", "t")] * 2 == [(one.run.task, one.run.queue, one.run.key, one.run.name) for one in started]
    leases = [await harness.claim(mine), await claimed(two, theirs)]
    assert [[one.run.id] for one in started] == [[lease.run_id for lease in batch] for batch in leases]
    assert [("t", "k"), ("t", "k")] == [(lease.task, lease.key) for batch in leases for lease in batch]
    for services, one in zip((harness.services, two), started, strict=True):
        assert [one.run.id] == [run.id for run in (await services.runs.page(RunFilter(), Page()))[0]]
        assert [["t"], ["default", "q"]] == [
            [task.name for task in services.tasks.list()],
            [found.name for found in services.queues.list()],
        ]
        assert {"running": 1} == services.tasks.counts("t") == services.queues.counts("q")
        again = await services.runs.start(spec(queue="q"), key("other"))
        assert not again.replayed
        assert await services.runs.start(spec(queue="q"), key("other"))
        assert ["t", "q"] == [
            (await services.runs.get(again.run.id)).task,
            (await services.runs.get(again.run.id)).queue,
        ]


async def test_a_name_with_the_mark_in_it_reaches_nobody_elses(harness):
    (two,) = await shared_by(harness, 2)
    await employed(two, declare("t"), queues=["q"])
    await begun(two, queue="q", labels={"a": "b"})
    sneaky = f"2{MARK}"
    for asking in (
        lambda: harness.tasks.get(f"{sneaky}t"),
        lambda: harness.queues.get(f"{sneaky}q"),
        lambda: two.tasks.get(f"{sneaky}t"),
        lambda: two.queues.get(f"1{MARK}q"),
    ):
        with pytest.raises((TaskNotFound, QueueNotFound)):
            asking()
    for asking in (
        harness.tasks.activate(f"{sneaky}t", active=False),
        harness.tasks.terminate(f"{sneaky}t", wire.TerminateTask()),
        harness.queues.pause(f"{sneaky}q", paused=True),
        harness.runs.start(spec(f"{sneaky}t".replace(MARK, "\\u001f"))),
    ):
        assert (await refused(asking))[1] in (404, 422)
    for wanted in (
        RunFilter(task=(f"{sneaky}t",)),
        RunFilter(queue=(f"{sneaky}q",)),
        RunFilter(labels={f"{sneaky}a": "b"}),
    ):
        assert ([], {}) == ((await harness.runs.page(wanted, Page()))[0], await harness.runs.count(wanted, "state"))
    assert {} == harness.queues.counts(f"{sneaky}q") == harness.tasks.counts(f"{sneaky}t")
    assert await harness.queues.oldest(f"{sneaky}q") is None


# -- lists, counts, cursors --------------------------------------------------------------------------------------------------

FILTERS = {
    "nothing": {}, "a state": {"state": (State.SUCCEEDED,)}, "states": {"state": (State.SUCCEEDED, State.QUEUED)},
    "a task": {"task": ("t",)}, "tasks": {"task": ("t", "u")}, "a queue": {"queue": ("q",)}, "queues": {"queue": ("q", "r")},
    "a label": {"labels": {"n": "1"}}, "labels": {"labels": {"n": "1", "m": "0"}}, "a key": {"key": "k1"},
    "a task and a state": {"task": ("u",), "state": (State.QUEUED,)}, "created": {"created_after": 3},
    "ended": {"finished_after": 2}, "ended and a task": {"finished_after": 2, "task": ("t",)},
    "a key and a label": {"key": "k0", "labels": {"n": "0"}}, "a queue and a state": {"queue": ("q",), "state": (State.QUEUED,)},
}  # fmt: skip


async def mixture(harness, services, worker, number):
    """Start and end runs of all kinds, the same for each organisation but for how many."""
    for turn in range(number):
        harness.clock.advance(1)
        await begun(
            services, "tu"[turn % 2], {"of": services.organisation}, queue="qr"[turn % 3 == 0], key=f"k{turn % 2}",
            labels={"n": str(turn % 2), "m": str(turn % 3)},
        )  # fmt: skip
        if turn % 2:
            for lease in await claimed(services, worker, 1):
                await ended(services, worker, lease)


async def pages(services, wanted, size, *, newest_first, by_end):
    found, after = [], None
    while after != "":
        page, after = await services.runs.page(wanted, Page(size, after, newest_first, by_end))
        found += page
    return found


async def test_lists_and_counts_are_of_ones_own_whatever_is_asked_for(harness):
    (two, three) = await shared_by(harness, 2, 3)
    tasks = declare("t"), declare("u")
    for services, number in ((harness.services, 13), (two, 8), (harness.services, 6), (two, 5)):
        await mixture(harness, services, await employed(services, *tasks), number)
    await employed(three, *tasks)
    born = 1_800_000_000_000
    for name, fields in FILTERS.items():
        times = {field: born + value for field, value in fields.items() if isinstance(value, int)}
        wanted = RunFilter(**{**fields, **times})
        assert [] == await pages(three, wanted, 50, newest_first=True, by_end=False)
        assert {} == {group: n for group, n in (await three.runs.count(wanted, "task")).items() if n}
        for services in (harness.services, two):
            everything = await pages(services, RunFilter(), 1000, newest_first=True, by_end=False)
            fit = {run.id for run in everything if fits(run, wanted)}
            assert fit, name
            for window, size, by_end in ((1000, 50, False), (3, 2, False), (1, 50, True), (1000, 3, True)):
                harness.store.read.window = window
                found = await pages(services, wanted, size, newest_first=size > 2, by_end=by_end)
                assert {services.organisation} == {run.organisation for run in found} | {services.organisation}
                assert {services.organisation} == {json.loads(run.input)["of"] for run in found} | {
                    services.organisation
                }
                ends = {run.id for run in everything if run.finished_at is not None}
                assert (fit & ends if by_end else fit) == {run.id for run in found}, (name, window, size, by_end)
                assert len(found) == len({run.id for run in found})
            for group in ("state", "task", "queue", "priority", "run_type"):
                counts = await services.runs.count(wanted, group)
                assert len(fit) == sum(counts.values())
                assert not [name for name in counts if MARK in name]
            stored = services.namespace.wanted(wanted)
            assert sorted(fit) == await harness.store.read.ids(stored, "", 1000)


def fits(run, wanted):
    labels = json.loads(run.labels)
    return (
        all(not getattr(wanted, name) or getattr(run, name) in getattr(wanted, name) for name in ("state", "task", "queue"))
        and wanted.key in (None, run.key)
        and all(labels.get(name) == value for name, value in wanted.labels.items())
        and (wanted.created_after is None or run.created_at >= wanted.created_after)
        and (wanted.finished_after is None or (run.finished_at or 0) >= wanted.finished_after)
    )  # fmt: skip


async def test_a_family_of_another_is_no_family(harness):
    (two,) = await shared_by(harness, 2)
    await employed(two)
    await harness.worker()
    parent = await harness.start()
    for _ in range(5):
        await harness.start(parent_id=parent.id)
    for window in (1000, 1):
        harness.store.read.window = window
        for wanted in (
            RunFilter(parent_id=parent.id),
            RunFilter(root_id=parent.id),
            RunFilter(parent_id=parent.id, state=(State.QUEUED,)),
            RunFilter(root_id=parent.id, labels={"a": "b"}),
        ):
            assert ([], "") == await two.runs.page(wanted, Page())
            assert {} == await two.runs.count(wanted, "state")


async def test_a_page_token_of_another_is_a_bad_cursor(harness):
    (two,) = await shared_by(harness, 2)
    asked = RunQuery(task=["t"])
    for mine, theirs in ((harness.services, two), (two, harness.services)):
        token = next_token(asked, mine.cursors, NOBODY)
        again = RunQuery(task=["t"], page_token=token)
        assert NOBODY == page_of(again, RunFilter(), mine.cursors).after
        with pytest.raises(BadCursor, match="not made by this server"):
            page_of(again, RunFilter(), theirs.cursors)


# -- the feed ----------------------------------------------------------------------------------------------------------------


async def test_the_feed_has_ones_own_events_and_its_cursor_passes_those_of_others(harness):
    (two,) = await shared_by(harness, 2)
    await employed(two)
    await harness.worker()
    own = [
        (await begun(services)).id
        for services in (two, harness.services, harness.services, harness.services, two, harness.services)
    ]
    wanted = {2: [own[0], own[4]], 1: [own[1], own[2], own[3], own[5]]}
    for services in (harness.services, two):
        told, after, more, asked = [], 0, True, 0
        while more:
            events, after, more = await services.history.all_events(after, 2)
            told += [event.run_id for event in events]
            asked += 1
        assert (wanted[services.organisation], sum(map(len, wanted.values())) // 2) == (told, asked)
        assert after == await services.history.last_position()
        everyones = tuple(run for runs in wanted.values() for run in runs)
        some, _, _ = await services.history.all_events(0, 50, everyones)
        assert wanted[services.organisation] == [event.run_id for event in some]
        async with aclosing(services.history.feed(0, (), lambda: False)) as stream:
            assert wanted[services.organisation] == [
                (await anext(stream)).run_id for _ in wanted[services.organisation]
            ]
            further = asyncio.ensure_future(anext(stream))
            for someone in (two, harness.services):
                wanted[someone.organisation].append((await begun(someone)).id)
            assert wanted[services.organisation][-1] == (await further).run_id


# -- tasks and queues --------------------------------------------------------------------------------------------------------


async def test_a_queue_is_paused_and_limited_for_its_own_organisation_only(harness):
    (two,) = await shared_by(harness, 2)
    mine, theirs = await harness.worker(queues=["q"]), await employed(two, queues=["q"])
    for services in (harness.services, two):
        await begun(services, queue="q")
        await begun(services, queue="q")
    await two.queues.pause("q", paused=True)
    await harness.queues.limit("q", 1)
    assert ([0, 1], [1, None]) == tuple(
        [getattr(services.queues.get("q"), field) for services in (harness.services, two)]
        for field in ("paused", "concurrency")
    )
    assert (1, 0) == (len(await harness.claim(mine)), len(await claimed(two, theirs)))
    assert ["queue_paused"] == [
        cause.code for cause in (await two.history.waiting((await begun(two, queue="q")).id))[1]
    ][:1]
    await two.queues.pause("q", paused=False)
    assert (0, 3) == (len(await harness.claim(mine)), len(await claimed(two, theirs)))
    await two.queues.limit("elsewhere", 3)
    with pytest.raises(QueueNotFound):
        harness.queues.get("elsewhere")


async def test_a_task_of_another_is_not_there_and_what_is_done_to_ones_own_leaves_it_alone(harness):
    (two,) = await shared_by(harness, 2)
    await harness.worker(declare("t"), declare("mine"))
    await employed(two, declare("t"))
    run, theirs = await harness.start(), await begun(two)
    nobodys = await refused(two.tasks.activate("none", active=False))
    for name in ("mine", "none"):
        with pytest.raises(TaskNotFound, match=f"there is no task '{name}'"):
            two.tasks.get(name)
        assert nobodys == tuple(
            part.replace(name, "none") if isinstance(part, str) else part
            for part in await refused(two.tasks.activate(name, active=False))
        )
        assert (await refused(two.tasks.terminate(name, wire.TerminateTask())))[0] is TaskNotFound
        assert (await refused(begun(two, name)))[0] is UnknownTask
    assert {} == two.tasks.counts("mine")
    await two.tasks.activate("t", active=False)
    assert (True, False) == (harness.tasks.get("t").active, two.tasks.get("t").active)
    assert 1 == await two.tasks.terminate("t", wire.TerminateTask())
    assert ("queued", "terminated") == (await harness.state(run.id), (await two.runs.get(theirs.id)).state)


# -- shared tasks ------------------------------------------------------------------------------------------------------------


async def test_a_shared_task_is_started_by_all_and_executed_by_the_first_ones_workers(harness):
    two, three = await shared_by(harness, 2, 3)
    worker = await harness.worker(
        declare("all", shared=True, key="who", queue="fast"), declare("mine"), queues=["fast"]
    )
    own = await employed(two, declare("t"))
    run = await begun(two, "all", {"who": "7"})
    assert ("all", "fast", "7", 2) == (run.task, run.queue, run.key, run.organisation)
    assert [] == await claimed(two, own)
    (lease,) = await harness.claim(worker)
    assert (run.id, "all", "7") == (lease.run_id, lease.task, lease.key)
    await harness.tell(worker, lease, wire.LogReport, message="at it")
    await harness.succeed(worker, lease, 1)
    assert "succeeded" == (await two.runs.get(run.id)).state
    assert {"succeeded": 1} == two.tasks.counts("all") == two.queues.counts("fast")
    assert {} == harness.tasks.counts("all") == three.tasks.counts("all")
    assert ["all", "t"] == [task.name for task in two.tasks.list()]
    assert (["all"], ["all", "mine"]) == ([t.name for t in three.tasks.list()], [t.name for t in harness.tasks.list()])
    assert (await refused(harness.runs.get(run.id)))[1] == 404
    assert [run.id] == [one.id for one in (await two.runs.page(RunFilter(task=("all",)), Page()))[0]]


async def test_who_has_a_shared_task_from_another_cannot_switch_it_and_stops_its_own_runs_only(harness):
    two, three = await shared_by(harness, 2, 3)
    await harness.worker(declare("all", shared=True))
    runs = [(services, await begun(services, "all")) for services in (harness.services, two, three)]
    for active in (True, False):
        assert (await refused(two.tasks.activate("all", active=active)))[0] is Forbidden
    assert 1 == await two.tasks.terminate("all", wire.TerminateTask())
    assert ["queued", "terminated", "queued"] == [(await services.runs.get(run.id)).state for services, run in runs]
    await harness.tasks.activate("all", active=False)
    assert (await refused(begun(two, "all")))[2] == "the task 'all' is not active"


def test_an_app_or_a_task_says_that_it_is_shared():
    for app, task, expected in ((False, None, False), (True, None, True), (True, False, False), (False, True, True)):
        collection = App(shared=app)

        async def work() -> None: ...

        found = collection.task(**({} if task is None else {"shared": task}))(work)
        assert expected == found.declaration.shared


async def test_only_the_first_organisation_shares(harness):
    (two,) = await shared_by(harness, 2)
    error, _, detail, *_ = await refused(employed(two, declare("all", shared=True)))
    assert (InvalidInput, True) == (error, "only tasks of the first organisation" in detail)


async def test_ones_own_task_stands_before_a_shared_one_of_the_same_name_but_not_for_shared_work(harness):
    (two,) = await shared_by(harness, 2)
    worker = await harness.worker(
        declare("all", shared=True), declare("part", shared=True, version="shared"), declare("in")
    )
    own = await employed(two, declare("part", version="own"))
    assert "own" == (await begun(two, "part")).task_version
    assert ["all", "part"] == [task.name for task in two.tasks.list()]
    await begun(two, "all")
    (lease,) = await harness.claim(worker)
    answer = await harness.tell(worker, lease, wire.ChildReport, name="c", run=spec("part"))
    child = await two.runs.get(answer.replies[0].run_id)
    assert ("shared", lease.run_id, 2) == (child.task_version, child.parent_id, child.organisation)
    assert (422, "unknown_task") == await harness.refused(worker, lease, wire.ChildReport, name="d", run=spec("in"))
    assert [child.id] == [lease.run_id for lease in await harness.claim(worker)]
    (mine,) = await claimed(two, own)
    assert "own" == (await two.runs.get(mine.run_id)).task_version
    assert {"queued": 0} | two.tasks.counts("part") == {"queued": 0, "running": 2}


async def test_a_task_that_is_not_shared_any_more_is_not_started_again(harness):
    (two,) = await shared_by(harness, 2)
    await harness.worker(declare("all", shared=True))
    run = await begun(two, "all")
    await two.runs.terminate(run.id, Terminate())
    await harness.worker(declare("all"))
    assert (await refused(two.runs.retry(run.id, WHY)))[0] is UnknownTask
    assert (await refused(begun(two, "all")))[0] is UnknownTask
    assert [run.id] == [one.id for one in (await two.runs.page(RunFilter(task=("all",)), Page()))[0]]


async def test_slots_of_a_key_are_each_organisations_and_freed_for_it(harness):
    (two,) = await shared_by(harness, 2)
    worker = await harness.worker(declare("all", shared=True, concurrency_per_key=1))
    for services in (harness.services, two, two):
        await begun(services, "all", key="k")
    first = await harness.claim(worker)
    owners = [(await harness.store.read.run(lease.run_id)).organisation for lease in first]
    assert ([1, 2], ["k", "k"]) == (sorted(owners), [lease.key for lease in first])
    for lease in first:
        await harness.succeed(worker, lease)
    (second,) = await harness.claim(worker)
    assert 2 == (await harness.store.read.run(second.run_id)).organisation


async def test_a_bulk_action_touches_ones_own_and_counts_them(harness):
    (two,) = await shared_by(harness, 2)
    await harness.worker()
    await employed(two)
    built_in = await harness.workers.register(
        wire.RegisterWorker(queues=["headway"], tasks=[declare("headway.bulk", queue="headway", shared=True)]),
        built_in=True,
    )
    runs = [(services, await begun(services, labels={"a": "b"})) for services in (two, harness.services, two)]
    for fields in ({}, {"task": ["t"]}, {"labels": {"a": "b"}}, {"queue": ["default"]}):
        given = {"filter": {"state": ["queued"], **fields}, "action": "protect"}
        started = await begun(two, "headway.bulk", given)
        (lease,) = await harness.claim(built_in.id)
        assert (started.id, "headway.bulk") == (lease.run_id, lease.task)
        done = json.loads(bytes(await bulk.execute(harness.service, await harness.store.read.run(lease.run_id))))
        assert {1: [0], 2: [1, 1]} == {
            n: [(await services.runs.get(run.id)).protected for services, run in runs if services.organisation == n]
            for n in (1, 2)
        }
        assert 2 == done["changed"]
        await harness.tell(built_in.id, lease, wire.SucceededReport)
        for services, run in runs:
            await services.runs.protect(run.id, protected=False)


async def test_who_holds_a_token_needs_no_organisation(harness):
    (two,) = await shared_by(harness, 2)
    worker = await employed(two)
    run = await begun(two)
    (lease,) = await claimed(two, worker)
    report = wire.TokenReport(run_id=lease.run_id, epoch=lease.epoch, name="paid")
    (reply,) = (await two.workers.report(wire.ReportRuns(worker_id=worker, reports=[report]))).replies
    assert run.id == (await harness.runs.complete_token(reply.token, raw({"by": "bank"}))).id
    assert "run.signal" in [event.type for event in await two.history.events(run.id, 0, 50)]


# -- workers -----------------------------------------------------------------------------------------------------------------


async def _told(services, worker):
    async with aclosing(services.workers.signals(worker)) as told:
        return await anext(told)


ABOUT_A_WORKER = {
    "get": lambda services, worker: services.workers.get(worker),
    "drain": lambda services, worker: services.workers.drain(worker),
    "claim": claimed,
    "report": lambda services, worker: services.workers.report(wire.ReportRuns(worker_id=worker)),
    "heartbeat": lambda services, worker: services.workers.report(wire.ReportRuns(worker_id=worker, held=[])),
    "signals": _told,
}


@pytest.mark.parametrize("verb", ABOUT_A_WORKER)
async def test_a_worker_of_another_is_answered_as_one_that_is_not_there(harness, verb):
    (two,) = await shared_by(harness, 2)
    worker, theirs = await harness.worker(), await employed(two)
    await harness.start()
    before = harness.dump()
    for services, other in ((two, worker), (harness.services, theirs)):
        said = await refused(ABOUT_A_WORKER[verb](services, other))
        nobodys = await refused(ABOUT_A_WORKER[verb](services, NOBODY))
        assert nobodys == tuple(part.replace(other, NOBODY) if isinstance(part, str) else part for part in said)
        assert [other] != [found.id for found in await services.workers.list()]
        assert 1 == len(await services.workers.list())
    assert before == harness.dump()


async def test_a_worker_gets_its_own_organisations_runs_and_reports_on_no_others(harness):
    (two,) = await shared_by(harness, 2)
    mine, theirs = await harness.worker(), await employed(two)
    run = await harness.start()
    assert [] == await claimed(two, theirs)
    lease = await harness.one(mine)
    report = wire.SucceededReport(run_id=lease.run_id, epoch=lease.epoch)
    answer = await two.workers.report(wire.ReportRuns(worker_id=theirs, reports=[report]))
    assert ["lease_lost"] == [rejected.code for rejected in answer.rejected]
    assert "running" == await harness.state(run.id)
    shown = await two.workers.get(theirs)
    assert ('["t"]', "[]") == (shown.tasks, shown.queues)


# -- fair share --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"concurrency": 1_000}])
@pytest.mark.parametrize("most", [1, 4])
async def test_the_backlog_of_one_organisation_keeps_no_other_waiting(harness, most, limits):
    two, three = await shared_by(harness, 2, 3)
    worker = await harness.worker(declare("all", shared=True, **limits))
    for _ in range(20):
        await begun(two, "all")
    harness.clock.advance(1_000)
    for services in (three, harness.services, three):
        await begun(services, "all")
    order = []
    while leases := await harness.claim(worker, most):
        order += [(await harness.store.read.run(lease.run_id)).organisation for lease in leases]
    assert {1, 2, 3} == set(order[:3]) if most == 1 else set(order[:4])
    assert [3, 3] == [owner for owner in order[:6] if owner == 3]
    assert 20 == order.count(2)


async def test_priority_goes_before_the_turn_and_age_counts_within_an_organisation(harness):
    (two,) = await shared_by(harness, 2)
    worker = await harness.worker(declare("all", shared=True))
    runs = {}
    for name, services, priority in (
        ("a", two, 5),
        ("b", two, 5),
        ("c", harness.services, 5),
        ("d", two, 9),
        ("e", harness.services, 5),
    ):
        runs[(await begun(services, "all", priority=priority)).id] = name
        harness.clock.advance(1)
    assert "dacbe" == "".join(runs[lease.run_id] for lease in await harness.claim(worker))


# -- what else leaves --------------------------------------------------------------------------------------------------------


async def test_metrics_say_whose_they_are_and_show_others_nothing_but_their_own(harness):
    (two,) = await shared_by(harness, 2)
    await harness.worker(queues=["q"])
    await employed(two, queues=["q"])
    for services in (harness.services, two, two):
        await begun(services, queue="q")
    api = Api(harness.service, (NATIVE_SURFACE,))
    operators, theirs = [(await exposition(api, number)).decode() for number in (1, 2)]
    line = 'headway_queue_depth{{organisation="{}",queue="q"}} {}.0'
    assert [True, True] == [line.format(1, 1) in operators, line.format(2, 2) in operators]
    assert [False, True] == [line.format(1, 1) in theirs, line.format(2, 2) in theirs]
    assert 'organisation="1"' not in theirs
    assert MARK not in operators + theirs
    assert "headway_db_commits" not in theirs


async def test_why_a_run_waits_is_said_in_its_organisations_own_names(harness):
    (two,) = await shared_by(harness, 2)
    worker = await employed(two, declare("t", concurrency_per_key=1))
    await begun(two, key="k")
    run = await begun(two, key="k")
    await claimed(two, worker)
    _, causes, _ = await two.history.waiting(run.id)
    assert ["key_limit"] == [cause.code for cause in causes]
    await two.workers.drain(worker)
    await two.queues.pause("default", paused=True)
    texts = str((await two.history.waiting(run.id))[1])
    assert "'default'" in texts
    assert "x1f" not in texts


@pytest.mark.parametrize("name", ["t", "", "7:order", f"2{MARK}t", f"1{MARK}", f"1{MARK}1{MARK}t", "ü"])
def test_names_go_in_and_out_unchanged_and_no_two_are_kept_alike(name):
    for number in (1, 2, 22):
        namespace = Namespace(number)
        stored = namespace.qualify(name)
        assert (name, number) == (Namespace.unqualify(stored), Namespace.owner(stored))
        others = {
            Namespace(other).qualify(text) for other in (1, 2, 22) for text in ("t", "", "7:order", f"2{MARK}t", "ü")
        }
        assert number == 1 or stored not in {Namespace(1).qualify(text) for text in (name, stored)}
        assert not any(
            Namespace.owner(one) == number and Namespace.unqualify(one) != name for one in others if one == stored
        )


async def test_why_a_shared_task_runs_tells_nothing_of_whose_worker_it_is(harness):
    (two,) = await shared_by(harness, 2)
    worker = await harness.worker(declare("shared", shared=True), name="secret", host="hidden")
    mine, theirs = await harness.start("shared"), await begun(two, "shared")
    leases = await harness.claim(worker, 2)
    held = [(lease.run_id, lease.epoch) for lease in leases]
    for blocker, shown in ((mine.id, False), (theirs.id, True)):
        blocked = wire.BlockedLoop(for_ms=1_000, task="shared", run_id=blocker, where="app.py:3", stack="the stack")
        await harness.workers.report(wire.ReportRuns(worker_id=worker, held=held, blocked=blocked))
        _, causes, work = await two.history.waiting(theirs.id)
        texts = str(causes)
        assert "a worker that is not named here" in texts
        assert work.worker == ""
        assert not [word for word in ("secret", "hidden", mine.id) if word in texts]
        assert shown == ("the stack" in texts) == ("by this run" in texts)
        assert (await harness.workers.health(worker)).blocked.run_id == ("" if shown else mine.id)
