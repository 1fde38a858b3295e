"""Several servers on one database: what one does, the others see; and every limit holds over all of them."""

import asyncio
import contextlib
import json
import logging

import psycopg
import pytest
from tests.harness import declare, key, on_postgres, spec
from tests.servers.waiting import soon
from tests.store.faulty import faulty_world

from headway.errors import IdempotencyKeyReused, StorageBusy, StorageUnavailable
from headway.kernel.event import Event
from headway.kernel.namespace import Namespace
from headway.kernel.query import Page, RunFilter
from headway.notify.events import StorageRegained
from headway.protocol import workers as wire
from headway.runs.history import Snapshot, WatchEnd
from headway.runs.servers import DEFINED_EVERY, GONE_MS, SILENT_MS
from headway.serving.serve import _readiness
from headway.store.database import DatabaseGone, DatabaseLocked


async def test_a_run_that_one_server_starts_goes_to_a_worker_that_waits_at_the_other(pair):
    worker = await pair.b.worker()
    waiting = asyncio.ensure_future(pair.b.claim(worker, 1, "30s"))
    await asyncio.sleep(0.05)
    run = await pair.a.start()
    async with asyncio.timeout(1):
        (lease,) = await waiting
    assert run.id == lease.run_id
    await pair.b.succeed(worker, lease, 7)
    assert ("succeeded", "succeeded") == (await pair.a.state(run.id), await pair.b.state(run.id))


async def test_a_task_that_one_server_has_just_learnt_of_can_be_started_at_the_other(pair):
    await pair.a.worker(declare("new"))
    run = await pair.b.start("new")
    await pair.a.worker(declare("newer"))
    (item,) = await pair.b.start_many(spec("newer"))
    assert ("queued", "queued") == (await pair.a.state(run.id), await pair.a.state(item.run.id))


async def test_a_watch_at_one_server_tells_all_that_happens_at_the_other(pair):
    worker = await pair.a.worker()
    run = await pair.a.start()
    told = []

    async def watch():
        async for item in pair.b.history.watch(run.id, 0, lambda: False):
            told.append(item)  # noqa: PERF401 - others look at what is there so far

    watching = asyncio.ensure_future(watch())
    await soon(lambda: _true(told))
    lease = await pair.a.one(worker)
    for number in range(20):
        await pair.a.tell(worker, lease, wire.LogReport, message=str(number))
    await pair.a.succeed(worker, lease)
    async with asyncio.timeout(10):
        await watching
    events = [item.seq for item in told if hasattr(item, "seq") and not isinstance(item, Snapshot | WatchEnd)]
    assert list(range(1, 24)) == events
    assert isinstance(told[-1], WatchEnd)


async def _true(value):
    return value


async def told(harness, worker):
    """Claim a run that another server has made ready a moment ago."""
    (lease,) = await harness.claim(worker, 1, "5s")
    return lease


async def test_who_waits_at_one_server_is_answered_when_the_run_ends_at_the_other(pair):
    worker = await pair.a.worker()
    run = await pair.a.start()
    waiting = asyncio.ensure_future(pair.b.runs.wait(run.id, 30, lambda run: run.final))
    await asyncio.sleep(0.05)
    await pair.a.succeed(worker, await pair.a.one(worker))
    async with asyncio.timeout(1):
        assert "succeeded" == (await waiting).state


async def test_who_watches_or_waits_goes_on_when_nothing_could_be_read_for_a_while(pair, postgres_cluster):
    worker = await pair.a.worker()
    run = await pair.a.start()
    lease = await pair.a.one(worker)
    told, fed = [], []

    async def follow(items, into):
        async for item in items:
            into.append(item)

    watching = asyncio.ensure_future(follow(pair.b.history.watch(run.id, 0, lambda: False), told))
    feeding = asyncio.ensure_future(follow(pair.b.history.feed(0, (), lambda: len(fed) > 3), fed))
    waiting = asyncio.ensure_future(pair.b.runs.wait(run.id, 30, lambda run: run.final))
    await soon(lambda: _true(len(told) == 3 and len(fed) == 2))
    name = pair.a.path.rpartition("/")[2]
    postgres_cluster.query(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres_cluster.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
    pair.b.store.generation += 1
    pair.b.store.notifier.publish_all()
    await soon(lambda: _true(None in told and None in fed))
    postgres_cluster.query(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    pair.b.clock.advance(1_000)

    async def succeeds():
        with contextlib.suppress(StorageUnavailable):
            await pair.a.succeed(worker, lease)
            return True

    await soon(succeeds)
    async with asyncio.timeout(10):
        await watching
        assert "succeeded" == (await waiting).state
    await soon(lambda: _true([1, 2, 3] == [event.seq for event in fed if event]))
    feeding.cancel()
    assert isinstance(told[-1], WatchEnd)
    assert [1, 2, 3] == [item.seq for item in told if isinstance(item, Event)]


async def test_an_organisation_that_one_server_makes_is_served_at_any(pair):
    await pair.a.worker()
    await pair.a.start()
    for harness in pair.both:
        await harness.act_for(2)
        await soon(lambda harness=harness: _true(len(harness.store.definitions.organisations) == 2))
    worker = await pair.a.worker()
    claim = asyncio.ensure_future(pair.a.claim(worker, 1, "30s"))
    run = await pair.b.start()
    (lease,) = await claim
    assert (run.id, "t", 2) == (lease.run_id, lease.task, (await pair.b.runs.get(run.id)).organisation)
    for harness in pair.both:
        assert [run.id] == [one.id for one in (await harness.runs.page(RunFilter(), Page()))[0]]
        events, _, _ = await harness.history.all_events(0, 100)
        assert {run.id} == {event.run_id for event in events}


async def test_what_is_not_heard_is_found_at_the_next_sign_of_life(pair):
    """Messages may be lost: they only make things faster."""
    pair.b.store.peers._on_message = lambda message: None
    await pair.pulse()
    worker = await pair.b.worker()
    claim = asyncio.ensure_future(pair.b.claim(worker, 1, "30s"))
    watched = await pair.a.start("t", queue="elsewhere", delay="1h")
    wait = asyncio.ensure_future(pair.b.runs.wait(watched.id, 30, lambda run: run.final))
    await asyncio.sleep(0.05)
    run = await pair.a.start()
    await pair.a.stop(watched.id)
    await asyncio.sleep(0.1)
    assert [False, False] == [claim.done(), wait.done()]
    await soon(lambda: _pulsed(pair, claim, wait))
    assert [run.id] == [lease.run_id for lease in await claim]
    assert "terminated" == (await wait).state


async def _pulsed(pair, *waiting):
    await pair.pulse(pair.b)
    return all(one.done() for one in waiting)


async def test_a_stop_at_one_server_reaches_the_worker_at_the_other(pair):
    worker = await pair.a.worker()
    run = await pair.a.start()
    lease = await pair.a.one(worker)
    signals = pair.a.workers.signals(worker)
    told = asyncio.ensure_future(anext(signals))
    await asyncio.sleep(0.05)
    await pair.b.stop(run.id, reason="enough", grace="3s")
    async with asyncio.timeout(1):
        stop = await told
    assert (run.id, lease.epoch, 3000, "enough") == (stop.run_id, stop.epoch, stop.grace_ms, stop.reason)
    await signals.aclose()
    await pair.a.tell(worker, lease, wire.StoppedReport)
    assert "terminated" == await pair.b.state(run.id)


async def test_a_queue_that_is_paused_at_one_server_gives_nothing_at_the_other(pair):
    worker = await pair.b.worker()
    await pair.a.start()
    await pair.a.queues.pause("default", paused=True)
    await soon(lambda: _true(pair.b.queues.get("default").paused))
    assert [] == await pair.b.claim(worker)
    waiting = asyncio.ensure_future(pair.b.claim(worker, 1, "30s"))
    await asyncio.sleep(0.05)
    await pair.a.queues.pause("default", paused=False)
    async with asyncio.timeout(1):
        assert 1 == len(await waiting)


async def test_changes_of_a_queue_at_two_servers_do_not_undo_each_other(pair):
    await pair.a.worker()
    await pair.a.queues.limit("q", 7)
    await asyncio.gather(pair.a.queues.pause("q", paused=True), pair.b.queues.limit("q", 9))
    await pair.pulse()
    assert [(1, 9)] * 2 == [(queue.paused, queue.concurrency) for queue in (w.queues.get("q") for w in pair.both)]


async def test_the_first_use_of_a_queue_at_one_server_does_not_undo_its_pause_at_the_other(pair):
    await pair.a.worker()
    pair.b.store.peers._on_message = lambda message: None
    await pair.a.queues.limit("q", 1)
    await pair.a.queues.pause("q", paused=True)
    await pair.b.store.know(Namespace(1), ["t"])
    await pair.b.start(queue="q")
    for _ in range(DEFINED_EVERY):
        await pair.pulse()
    assert [1, 1] == [harness.queues.get("q").paused for harness in pair.both]


@pytest.mark.parametrize(
    "limits", [{"concurrency": 3}, {"concurrency_per_key": 1}, {"concurrency": 4, "concurrency_per_key": 2}]
)
async def test_limits_hold_over_all_servers_whatever_happens_at_the_same_time(pair, limits):
    workers = [(harness, await harness.worker(declare(**limits))) for harness in pair.both]
    total = 120
    runs = [await pair.both[n % 2].start(key="abc"[n % 3]) for n in range(total)]
    held, most, done = {}, 0, set()

    async def work(harness, worker):
        nonlocal most
        while len(done) < total:
            for lease in await harness.claim(worker, 5, "20ms"):
                held[lease.run_id] = lease.key
                most = max(most, len(held))
                of_key = max(list(held.values()).count(one) for one in "abc")
                assert len(held) <= limits.get("concurrency", total)
                assert of_key <= limits.get("concurrency_per_key", total)
                await asyncio.sleep(0)
                del held[lease.run_id]
                await harness.succeed(worker, lease)
                done.add(lease.run_id)

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(*one) for one in workers for _ in range(4)))
    assert {run.id for run in runs} == done
    live = await pair.a.store.read.live_counts()
    assert [] == live


async def test_claims_under_a_limit_wait_for_the_server_that_is_counting(pair):
    worker = await pair.a.worker(declare(concurrency=1))
    run = await pair.a.start()
    with psycopg.connect(pair.a.path) as other:
        other.execute("SELECT 1 FROM store WHERE name = 'limits' FOR UPDATE")
        claim = asyncio.ensure_future(pair.a.claim(worker))
        await soon(lambda: _waits_for_a_lock(pair))
        assert not claim.done()
    (lease,) = await claim
    assert run.id == lease.run_id


async def _waits_for_a_lock(pair):
    with psycopg.connect(pair.a.path, autocommit=True) as looking:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return looking.execute(waiting).fetchone()


async def test_one_idempotency_key_at_two_servers_starts_one_run(pair):
    await pair.a.worker()
    for turn in range(10):
        answers = await asyncio.gather(
            *(pair.both[n % 2].runs.start(spec(), key(f"k{turn}")) for n in range(16)), return_exceptions=True
        )
        assert 1 == len({answer.run.id for answer in answers})
        assert 1 == sum(answer.created for answer in answers)
    assert 10 == sum((await pair.a.store.read.count(_all(), None)).values())
    with pytest.raises(IdempotencyKeyReused):
        await pair.b.runs.start(spec(), key("k0", b'{"other":1}'))


def _all():
    from headway.kernel.query import RunFilter

    return RunFilter()


async def test_one_dedupe_key_at_two_servers_has_one_active_run(pair):
    await pair.a.worker()
    for turn in range(10):
        answers = await asyncio.gather(
            *(pair.both[n % 2].start(dedupe={"key": f"k{turn}", "scope": "active"}) for n in range(16))
        )
        assert 1 == len({answer.id for answer in answers})


async def test_a_stop_at_one_server_and_an_outcome_at_the_other_have_one_winner(pair):
    worker = await pair.a.worker()
    ends = set()
    for _ in range(30):
        run = await pair.a.start()
        lease = await pair.a.one(worker)
        done = wire.SucceededReport(run_id=run.id, epoch=lease.epoch)
        await asyncio.gather(pair.a.report(worker, done), pair.b.stop(run.id), return_exceptions=True)
        state = await pair.a.state(run.id)
        if state == "stopping":
            await pair.a.tell(worker, lease, wire.StoppedReport)
            state = await pair.a.state(run.id)
        causes = await pair.b.causes(run.id)
        assert 1 == sum(cause in ("succeeded", "stopped") for cause in causes), causes
        ends.add(state)
    assert ends <= {"succeeded", "terminated"}


async def test_children_that_end_at_two_servers_wake_their_parent_once(pair):
    workers = [(harness, await harness.worker(declare("parent"), declare("child"))) for harness in pair.both]
    harness, worker = workers[0]
    for _ in range(10):
        parent = await harness.start("parent")
        lease = await harness.one(worker)
        ids = []
        for number in range(2):
            asked = wire.ChildReport(run_id=parent.id, epoch=lease.epoch, name=f"c{number}", run=spec("child"))
            ids += [reply.run_id for reply in (await harness.report(worker, asked)).replies]
        leases = [(*both, await told(*both)) for both in workers]
        blockers = [wire.BlockerSpec(kind="run", run_id=run_id) for run_id in ids]
        await harness.tell(worker, lease, wire.SuspendedReport, blockers=blockers)
        await asyncio.gather(*(one.succeed(its, child) for one, its, child in leases))
        assert "queued" == await harness.state(parent.id)
        again = await told(harness, worker)
        assert 2 == len(again.steps) - 2
        await harness.succeed(worker, again)


async def test_the_feed_tells_everything_once_and_in_order_whoever_commits(pair):
    for harness in pair.both:
        await harness.worker()
    seen = []

    async def follow():
        async for event in pair.b.history.feed(0, (), lambda: len(seen) >= 400):
            if event is not None:
                seen.append(event)  # noqa: PERF401 - others look at what is there so far

    following = asyncio.ensure_future(follow())
    started = []
    for _ in range(20):
        started += await asyncio.gather(*(pair.both[n % 2].start() for n in range(20)))
    async with asyncio.timeout(20):
        await soon(lambda: _true(len(seen) >= 400))
    following.cancel()
    assert {run.id for run in started} == {event.run_id for event in seen}
    positions = [event.position for event in seen]
    assert sorted(set(positions)) == positions


async def test_what_a_claim_at_one_server_has_taken_is_handed_back_by_the_other_once_it_never_arrived(pair):
    worker = await pair.a.worker()
    run = await pair.a.start()
    await pair.a.claim(worker, number=1)
    heard = 0
    for _ in range(4):  # its answer is under way, while the heartbeats go to the other already
        heard = (await pair.b.report(worker, held=[], claiming=[1], heard=heard)).beat
    assert "running" == await pair.b.state(run.id)
    claim = asyncio.ensure_future(pair.b.claim(worker, 1, "30s", number=2))  # it was given up, and is made again there
    await asyncio.sleep(0.05)
    await pair.b.report(worker, held=[], claiming=[2], heard=heard)
    async with asyncio.timeout(5):
        assert [(run.id, 2, 1)] == [(lease.run_id, lease.epoch, lease.attempt) for lease in await claim]


async def test_a_worker_that_moves_to_another_server_keeps_its_leases(pair):
    worker = await pair.a.worker()
    run = await pair.a.start()
    lease = await pair.a.one(worker)
    stream = pair.a.workers.signals(worker)
    opened = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.02)
    opened.cancel()
    await asyncio.gather(opened, return_exceptions=True)
    await stream.aclose()  # its connection to the first server breaks
    await pair.b.report(worker, held=[(run.id, lease.epoch)])  # and it goes on at the second
    await pair.pass_time(4_000)
    assert "running" == await pair.b.state(run.id)
    await pair.b.succeed(worker, lease)
    assert ["created", "claimed", "succeeded"] == await pair.a.causes(run.id)


async def test_the_runs_of_a_dead_worker_of_a_dead_server_come_back(pair):
    worker = await pair.a.worker()
    run = await pair.a.start()
    await pair.a.one(worker)
    await pair.pulse()
    await pair.pass_time(GONE_MS + 2_000, pair.b)  # the first server gives no sign of life any more
    assert "running" == await pair.b.state(run.id), "its worker has a full lease to be heard from"
    await pair.pass_time(16_000, pair.b)
    assert "queued" == await pair.b.state(run.id)
    assert [pair.b.store.peers.server_id] == [server.id for server in await pair.b.service.servers.list()]


async def test_a_server_that_only_slept_takes_its_place_again_and_its_workers_keep_their_leases(pair):
    worker = await pair.a.worker()
    run = await pair.a.start()
    lease = await pair.a.one(worker)
    await pair.pulse()
    await pair.pass_time(GONE_MS + 2_000, pair.b)
    pair.a.sessions.heard(pair.a.sessions.get(worker))
    for _ in range(10):
        await pair.pass_time(2_000)
        pair.a.sessions.heard(pair.a.sessions.get(worker))
    assert "running" == await pair.a.state(run.id)
    assert 2 == len(await pair.a.service.servers.list())
    shards = [server.shard for server in await pair.a.service.servers.list()]
    assert len(set(shards)) == len(shards)
    await pair.a.succeed(worker, lease)


async def test_a_lease_that_was_taken_while_its_server_slept_is_fenced_when_it_wakes(pair):
    worker = await pair.a.worker()
    run = await pair.a.start()
    lease = await pair.a.one(worker)
    await pair.pulse()
    await pair.pass_time(GONE_MS + 20_000, pair.b)
    assert "queued" == await pair.b.state(run.id)
    answer = await pair.a.report(worker, wire.SucceededReport(run_id=run.id, epoch=lease.epoch))
    assert ["lease_lost"] == [rejected.code for rejected in answer.rejected]
    other = await pair.b.worker()
    again = await pair.b.one(other)
    assert (run.id, lease.epoch + 1) == (again.run_id, again.epoch)


async def test_a_worker_whose_end_could_not_be_written_goes_on_when_it_is_heard_again(pair):
    worker = await pair.a.worker()
    pair.a.store.writer.down = True
    with pytest.raises(StorageUnavailable):
        await pair.a.service.leases.lapse(pair.a.sessions.get(worker))
    pair.a.store.writer.down = False
    run = await pair.a.start()
    assert run.id == (await pair.a.one(worker)).run_id


async def test_nobody_lapses_because_there_was_no_database_to_report_to(pair):
    worker = await pair.a.worker()
    await pair.a.start()
    await pair.a.one(worker)
    pair.a.clock.advance(60_000)
    pair.a.store.events.publish(StorageRegained())
    assert [] == pair.a.sessions.lapsed()


async def test_what_falls_due_is_staged_though_the_server_that_started_it_is_gone(pair):
    await pair.a.worker()
    run = await pair.a.start(delay="5s")
    await pair.pulse()
    await pair.pass_time(8_000, pair.b)
    assert "queued" == await pair.b.state(run.id)


async def test_counts_are_the_same_at_every_server(pair):
    worker = await pair.a.worker()
    await pair.b.worker()
    for n in range(10):
        await pair.both[n % 2].start()
    await pair.a.succeed(worker, await pair.a.one(worker))
    await pair.pulse()
    assert [{"queued": 9, "succeeded": 1}] * 2 == [harness.tasks.counts("t") for harness in pair.both]


async def test_no_count_is_shown_below_zero_though_others_runs_are_taken_before_they_are_counted(pair):
    """What another server has put there is counted at the next sign of life; what is taken here, at once."""
    pair.b.store.peers._on_message = lambda message: None
    await pair.a.worker()
    worker = await pair.b.worker()
    await pair.pulse()
    for _ in range(3):
        await pair.a.start()
    pair.b.store.counters.expect([("default", "t")])  # there is something, it is not said how much
    assert 3 == len(await pair.b.claim(worker, 3, "5s"))
    assert -2 == pair.b.store.counters.counts["t", "default", "queued"]
    everything = RunFilter()
    assert {"running": 3} == await pair.b.runs.count(everything, "state")
    assert {"running": 3} == pair.b.tasks.counts("t")
    assert {"t": 3} == await pair.b.runs.count(everything, "task")
    await pair.pulse(pair.b)
    assert ("t", "default", "queued") not in pair.b.store.counters.counts


async def test_runs_that_are_counted_by_their_state_are_those_of_all_servers_now(pair):
    """What waits for the end of all work asks for this: the counters may be a moment behind, either way."""
    pair.b.store.peers._on_message = lambda message: None
    await pair.a.worker()
    await pair.pulse()
    for _ in range(2):
        await pair.a.start()
    assert {} == await pair.b.runs.count(RunFilter(), "state")
    assert {"queued": 2} == await pair.b.runs.count(RunFilter(state=("queued", "running")), "state")


@pytest.mark.parametrize("error", [DatabaseGone("cut off"), DatabaseLocked("held"), ZeroDivisionError("unforeseen")])
async def test_a_sign_of_life_that_fails_anywhere_is_given_the_next_time_with_all_that_belongs_to_it(
    postgres_store, error, caplog
):
    caplog.set_level(logging.CRITICAL + 1)
    harness, database = faulty_world(postgres_store)
    other = on_postgres(postgres_store)
    await harness.service.servers.join()
    await other.worker()
    await harness.service.servers.pulse()
    database.log.clear()
    await harness.service.servers.pulse()
    steps = list(database.log)
    assert {"begin", "read_servers", "save_server", "commit"} <= set(steps)
    for n, step in enumerate(steps, start=1):
        await other.start()
        database.arm(1, error, only=step)
        with pytest.raises((StorageUnavailable, StorageBusy, ZeroDivisionError)):
            await harness.service.servers.pulse()
        assert database.fired == 1
        await harness.service.servers.pulse()
        assert {"queued": n} == harness.tasks.counts("t"), step
    await other.let_go()
    await harness.let_go()


async def test_a_server_that_gives_no_sign_of_life_is_not_ready(pair):
    """Whatever holds its pulse up: its writer, its readers, its database that stands still."""
    ready = _readiness(pair.a.service, expects_workers=False)["store"]
    await pair.pulse()
    assert [0, None] == [pair.a.service.servers.silent_ms, await ready()]
    pair.a.clock.advance(SILENT_MS)
    assert await ready() is None
    pair.a.clock.advance(1_000)
    assert "no sign of life for 16 s" in await ready()
    await pair.pulse()
    assert await ready() is None


async def test_a_message_of_whoever_may_use_the_database_does_no_harm(pair):
    await pair.a.worker()
    for text in ("", "{", '"x"', json.dumps({"sender": "x", "marks": "zz", "lanes": [["", ""]]}), "\N{SNOWMAN}" * 100):
        pair.a.sql("SELECT pg_notify('headway', ?)", text)
    run = await pair.a.start()
    worker = await pair.b.worker()
    assert run.id == (await told(pair.b, worker)).run_id


async def test_what_a_batch_of_starts_has_changed_is_told_once(pair, monkeypatch):
    """One message for each commit of many commands, and not one for each command: listeners are woken that often."""
    await pair.a.worker()
    database = pair.a.store.writer._database
    told, commit = [], database.commit
    monkeypatch.setattr(database, "commit", lambda tell=(): (told.append(len(tell)), commit(tell))[1])
    runs = await asyncio.gather(*(pair.a.start() for _ in range(200)))
    assert len({run.id for run in runs}) == 200
    assert sum(told) <= len(told) < 50
