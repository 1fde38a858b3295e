"""Meters of runs, as Prometheus scrapes them: waits, durations, outcomes, and how many series there may be."""

import asyncio
import re
from pathlib import Path

import pytest
from tests.harness import declare, raw

from headway.notify.events import SessionsChanged
from headway.protocol import workers as wire
from headway.runs.built_in.worker import BuiltInWorker
from headway.server import BUILT_IN, NATIVE_SURFACE
from headway.store import counters
from headway.web.asgi import Api
from headway.web.metrics import exposition

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/observability.md"


async def scraped(harness, organisation=1):
    """Return the value of each series."""
    text = (await exposition(Api(harness.service, (NATIVE_SURFACE,)), organisation)).decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def of(task="t", organisation=1, **more):
    labels = {"organisation": organisation, **more, "task": task}
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def buckets(found, name, task="t"):
    """Return (bound, how many) of the buckets of a histogram in which something is."""
    counted, before = [], 0.0
    for bound in (*map(str, counters.BOUNDS_S), "+Inf"):
        now = found[name + "_bucket" + of(task, le=bound)]
        if now > before:
            counted.append((bound, now - before))
        before = now
    return counted


async def test_attempts_are_counted_by_their_outcome_with_retries_crashes_and_poison(harness):
    worker = await harness.worker(declare(retry={"max_attempts": 2, "backoff": "1s", "jitter": 0}, max_crashes=2))
    await harness.finished(worker)
    failing = await harness.start()
    await harness.fail(worker, await harness.one(worker), message="no")
    await harness.advance(2_000, worker)
    await harness.fail(worker, await harness.one(worker), message="no")
    assert await harness.state(failing.id) == "failed"
    poison = await harness.start()
    for _ in range(2):
        await harness.fail(worker, await harness.one(worker), code="crashed", message="gone")
    assert await harness.state(poison.id) == "failed"
    stopped = await harness.start()
    lease = await harness.one(worker)
    await harness.stop(stopped.id)
    await harness.tell(worker, lease, wire.StoppedReport)
    await harness.start()
    await harness.tell(worker, await harness.one(worker), wire.ReleasedReport)
    found = await scraped(harness)
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


async def test_a_wait_begins_when_a_run_may_start_and_a_duration_when_it_first_does(harness):
    worker = await harness.worker(declare(retry={"max_attempts": 2, "backoff": "100s", "jitter": 0}))
    await harness.start(delay="30s")
    await harness.advance(30_000, worker)
    await harness.advance(3_000, worker)
    lease = await harness.one(worker)  # after 3 s
    await harness.advance(2_000, worker)
    await harness.fail(worker, lease)
    await harness.advance(100_000, worker)
    await harness.advance(50_000, worker)
    lease = await harness.one(worker)  # after 50 s
    await harness.advance(1_000, worker)
    await harness.tell(worker, lease, wire.ReleasedReport)
    lease = await harness.one(worker)  # at once
    await harness.succeed(worker, lease)
    found = await scraped(harness)
    assert buckets(found, "headway_run_wait_seconds") == [("0.005", 1), ("5.0", 1), ("60.0", 1)]
    assert buckets(found, "headway_run_duration_seconds") == [("300.0", 1)]
    assert found["headway_run_duration_seconds_sum" + of()] == pytest.approx(153)


async def test_what_is_undone_is_not_counted(harness):
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    await harness.succeed(worker, lease)
    assert await harness.refused(worker, lease, wire.SucceededReport, output=raw(1)) == (409, "lease_lost")
    found = await scraped(harness)
    assert found["headway_attempts_total" + of(outcome="succeeded")] == 1


async def test_the_number_of_series_is_bounded_in_all_and_for_each_organisation(harness, monkeypatch):
    monkeypatch.setattr(counters, "OF_ORGANISATION_MAX", 3)
    monkeypatch.setattr(counters, "TASKS_MAX", 5)
    for organisation in (1, 2, 3):
        await harness.act_for(organisation)
        worker = await harness.worker(*(declare(f"t{n}") for n in range(4)))
        for n in range(4):
            await harness.finished(worker, task=f"t{n}")
    found = await scraped(harness)
    named = [name for name in found if name.startswith("headway_retries_total")]
    tasks = [("1", "t0"), ("1", "t1"), ("1", "t2"), ("2", "t0"), ("2", "(other)"), ("1", "(other)"), ("3", "(other)")]
    assert sorted(named) == sorted("headway_retries_total" + of(task, organisation) for organisation, task in tasks)
    assert found["headway_run_duration_seconds_count" + of("(other)", 3)] == 4
    assert sum(value for name, value in found.items() if name.startswith("headway_run_duration_seconds_count")) == 12
    theirs = await scraped(harness, 2)
    assert {name for name in theirs if "_retries_" in name} == {
        "headway_retries_total" + of(task, 2) for task in ("t0", "(other)")
    }


async def test_workers_are_those_that_people_started(harness):
    registered, built_in = asyncio.Event(), BuiltInWorker.of_tasks(harness.service, BUILT_IN)
    harness.store.events.subscribe(SessionsChanged, lambda _: registered.set())
    built_in.start()
    await asyncio.wait_for(registered.wait(), 10)
    assert (len(harness.sessions), (await scraped(harness))["headway_workers"]) == (1, 0)
    await harness.worker()
    assert (await scraped(harness))["headway_workers"] == 1
    await built_in.stop()


async def test_every_metric_is_explained_where_operators_read_of_them_and_no_other(harness):
    worker = await harness.worker()
    await harness.finished(worker)
    text = (await exposition(Api(harness.service, (NATIVE_SURFACE,)), 1)).decode()
    kinds = dict(re.findall(r"^# TYPE (headway_\w+) (\w+)$", text, re.MULTILINE))
    rows = re.findall(r"^\| `(headway_\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {name: kind for name, kind in kinds.items() if not name.endswith("_created")}
    assert len(rows) == len(dict(rows))
