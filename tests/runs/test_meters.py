"""Meters of runs, as Prometheus scrapes them: waits, durations, outcomes, and how many series there may be."""

import asyncio
import re
from pathlib import Path

import pytest
from tests.world import declare, raw

from headway.actions.executor import BuiltInWorker
from headway.notify.events import SessionsChanged
from headway.protocol import workers as wire
from headway.server import NATIVE_SURFACE
from headway.store import meters
from headway.web.asgi import Api
from headway.web.metrics import exposition

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/observability.md"


async def scraped(world, organisation=1):
    """Return the value of each series."""
    text = (await exposition(Api(world.service, (NATIVE_SURFACE,)), organisation)).decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def of(task="t", organisation=1, **more):
    labels = {"organisation": organisation, **more, "task": task}
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def buckets(found, name, task="t"):
    """Return (bound, how many) of the buckets of a histogram in which something is."""
    counted, before = [], 0.0
    for bound in (*map(str, meters.BOUNDS_S), "+Inf"):
        now = found[name + "_bucket" + of(task, le=bound)]
        if now > before:
            counted.append((bound, now - before))
        before = now
    return counted


async def test_attempts_are_counted_by_their_outcome_with_retries_crashes_and_poison(world):
    worker = await world.worker(declare(retry={"max_attempts": 2, "backoff": "1s", "jitter": 0}, max_crashes=2))
    await world.finished(worker)
    failing = await world.start()
    await world.fail(worker, await world.one(worker), message="no")
    await world.advance(2_000, worker)
    await world.fail(worker, await world.one(worker), message="no")
    assert await world.state(failing.id) == "failed"
    poison = await world.start()
    for _ in range(2):
        await world.fail(worker, await world.one(worker), code="crashed", message="gone")
    assert await world.state(poison.id) == "failed"
    stopped = await world.start()
    lease = await world.one(worker)
    await world.stop(stopped.id)
    await world.tell(worker, lease, wire.StoppedReport)
    await world.start()
    await world.tell(worker, await world.one(worker), wire.ReleasedReport)
    found = await scraped(world)
    shown = {
        re.search('outcome="(\\w+)"', name)[1]: value
        for name, value in found.items()
        if name.startswith("headway_attempts_total")
    }
    assert shown == {"succeeded": 1, "errored": 2, "crashed": 2, "stopped": 1, "released": 1}
    assert found["headway_retries_total" + of()] == 1
    assert found["headway_runs_poisoned_total" + of()] == 1
    assert found["headway_run_duration_seconds_count" + of()] == 4
    assert found["headway_run_wait_seconds_count" + of()] == 7


async def test_a_wait_begins_when_a_run_may_start_and_a_duration_when_it_first_does(world):
    worker = await world.worker(declare(retry={"max_attempts": 2, "backoff": "100s", "jitter": 0}))
    await world.start(delay="30s")
    await world.advance(30_000, worker)
    await world.advance(3_000, worker)
    lease = await world.one(worker)  # after 3 s
    await world.advance(2_000, worker)
    await world.fail(worker, lease)
    await world.advance(100_000, worker)
    await world.advance(50_000, worker)
    lease = await world.one(worker)  # after 50 s
    await world.advance(1_000, worker)
    await world.tell(worker, lease, wire.ReleasedReport)
    lease = await world.one(worker)  # at once
    await world.succeed(worker, lease)
    found = await scraped(world)
    assert buckets(found, "headway_run_wait_seconds") == [("0.005", 1), ("5.0", 1), ("60.0", 1)]
    assert buckets(found, "headway_run_duration_seconds") == [("300.0", 1)]
    assert found["headway_run_duration_seconds_sum" + of()] == pytest.approx(153)


async def test_what_is_undone_is_not_counted(world):
    worker = await world.worker()
    await world.start()
    lease = await world.one(worker)
    await world.succeed(worker, lease)
    assert await world.refused(worker, lease, wire.SucceededReport, output=raw(1)) == (409, "lease_lost")
    found = await scraped(world)
    assert found["headway_attempts_total" + of(outcome="succeeded")] == 1


async def test_the_number_of_series_is_bounded_in_all_and_for_each_organisation(world, monkeypatch):
    monkeypatch.setattr(meters, "OF_ORGANISATION_MAX", 3)
    monkeypatch.setattr(meters, "TASKS_MAX", 5)
    for organisation in (1, 2, 3):
        await world.act_for(organisation)
        worker = await world.worker(*(declare(f"t{n}") for n in range(4)))
        for n in range(4):
            await world.finished(worker, task=f"t{n}")
    found = await scraped(world)
    named = [name for name in found if name.startswith("headway_retries_total")]
    tasks = [("1", "t0"), ("1", "t1"), ("1", "t2"), ("2", "t0"), ("2", "(other)"), ("1", "(other)"), ("3", "(other)")]
    assert sorted(named) == sorted("headway_retries_total" + of(task, organisation) for organisation, task in tasks)
    assert found["headway_run_duration_seconds_count" + of("(other)", 3)] == 4
    assert sum(value for name, value in found.items() if name.startswith("headway_run_duration_seconds_count")) == 12
    theirs = await scraped(world, 2)
    assert {name for name in theirs if "_retries_" in name} == {
        "headway_retries_total" + of(task, 2) for task in ("t0", "(other)")
    }


async def test_workers_are_those_that_people_started(world):
    registered, built_in = asyncio.Event(), BuiltInWorker(world.service)
    world.store.events.subscribe(SessionsChanged, lambda _: registered.set())
    built_in.start()
    await asyncio.wait_for(registered.wait(), 10)
    assert (len(world.sessions), (await scraped(world))["headway_workers"]) == (1, 0)
    await world.worker()
    assert (await scraped(world))["headway_workers"] == 1
    await built_in.stop()


async def test_every_metric_is_explained_where_operators_read_of_them_and_no_other(world):
    worker = await world.worker()
    await world.finished(worker)
    text = (await exposition(Api(world.service, (NATIVE_SURFACE,)), 1)).decode()
    kinds = dict(re.findall(r"^# TYPE (headway_\w+) (\w+)$", text, re.MULTILINE))
    rows = re.findall(r"^\| `(headway_\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {name: kind for name, kind in kinds.items() if not name.endswith("_created")}
    assert len(rows) == len(dict(rows))
