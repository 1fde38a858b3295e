"""Growth: what gets slower when a store has a million runs instead of a thousand? The bar is 1.3 times.

Three stores: small (1,000 runs, half of them queued), finished (1,000,000, all but 1,000 finished) and queued (1,000,000,
all but 1,000 queued). With BENCH_POSTGRES, the URL of a database, they are moved to new ones beside it. The same operations are done in turn on all of them, so that what the machine does meanwhile meets
all alike. A figure is the ratio of the medians, large store to small store; `small_us` and `large_us` are the medians.

    finished.start, queued.claim.1, …   through the service in this process, commit included: start, batch of 100, claim 1
                                        and 100 from one lane (queue and task), finish 1 and 100; claim.lanes.100 from
                                        all 21 lanes at once; read (a status read)
    finished.list.state, …              the first page of every list in this process
    finished.http.list.state, …         the same over HTTP, from servers beside each other; with those of Tadabase's clients
    restart, size, memory               from exec to the first answer; the file; the server's memory after its lists

Of the large stores only those are made whose figures `--only` asks for. `finished.list.history` is the list behind Tadabase's
`history`, by when runs have ended. `--explain` prints the plan of each list that misses the bar, on standard error.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import apsw
from kit import POSTGRES, Bench, Served, database, emit, pss_mib, quiet, serving_store
from msgspec.json import encode

from headway.clock import SystemClock
from headway.config import Settings
from headway.ids import IdSource, Signer
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import State
from headway.kernel.task import Task
from headway.kernel.worker import Queue
from headway.protocol import workers as wire
from headway.protocol.runs import StartBatch, StartRun
from headway.protocol.times import to_text
from headway.runs.service import Service
from headway.runs.starting import new_run
from headway.server import FEATURES
from headway.store import lists
from headway.store.access_path import choose
from headway.store.location import is_postgres, sqlite_path
from headway.store.reader import WINDOW
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.open import open_file
from headway.store.statements import RUN_COLUMNS
from headway.store.store import Store

BAR = 1.3
DAY = 86_400_000
TASKS = [f"task-{number}" for number in range(10)]
QUEUES = [f"queue-{number}" for number in range(4)]
FINAL = (State.SUCCEEDED, State.FAILED, State.TERMINATED)
PARENT = "00000000-0000-7000-8000-000000000000"

# -- the stores --------------------------------------------------------------------------------------------------------


def fill(path: Path, count: int, queued_share: float) -> None:
    """Make a store of so many runs, as 20 days of use would have left it. Nothing is synced until the end."""
    clock = SystemClock()
    asyncio.run(open_file(path, clock, reserve_bytes=0).close())
    database = apsw.Connection(str(path))
    for pragma in ("synchronous = OFF", "journal_mode = MEMORY", "cache_size = -1000000", "locking_mode = EXCLUSIVE"):
        database.execute(f"PRAGMA {pragma}").fetchall()
    now = clock.now_ms()
    database.execute("BEGIN IMMEDIATE")
    _define(database, now)
    columns = ", ".join(RUN_COLUMNS)
    insert_run = f"INSERT INTO runs ({columns}) VALUES ({', '.join('?' * len(RUN_COLUMNS))})"
    chance = random.Random(7)
    ids = IdSource()
    counts: dict[tuple[str, str, str], int] = {}
    for first in range(0, count, 50_000):
        rows, labels, events = [], [], []
        for number in range(first, min(first + 50_000, count)):
            created = now - 20 * DAY + number * (19 * DAY // count)
            row, label, history = _run(ids, created, number, chance, queued=chance.random() < queued_share)
            rows.append(row)
            labels += label
            events += history
            place = (row[1], row[5], row[4])
            counts[place] = counts.get(place, 0) + 1
        database.executemany(insert_run, rows)
        database.executemany("INSERT INTO run_labels (name, value, run_id) VALUES (?, ?, ?)", labels)
        database.executemany("INSERT INTO events (run_id, seq, type, time, data) VALUES (?, ?, ?, ?, ?)", events)
    counted = [(*place, 0, n) for place, n in counts.items()]
    database.executemany("INSERT INTO counters (task, queue, state, shard, count) VALUES (?, ?, ?, ?, ?)", counted)
    database.execute("COMMIT")
    database.execute("PRAGMA journal_mode = WAL").fetchall()
    database.close()


def _define(database: apsw.Connection, now: int) -> None:
    for name in TASKS:
        task = Task(name=name, created_at=now, updated_at=now)
        database.execute("INSERT INTO tasks VALUES (?, ?, ?)", (name, encode(task).decode(), now))
    for name in (*QUEUES, "default"):
        queue = Queue(name, 0, None, now, now)
        database.execute(
            "INSERT INTO queues VALUES (?, ?, ?, ?, ?)", tuple(getattr(queue, f) for f in queue.__struct_fields__)
        )


def _run(ids: IdSource, created: int, number: int, chance: random.Random, *, queued: bool) -> tuple[Any, Any, Any]:
    run_id = ids.new(created)
    task = TASKS[number % 10 if number % 2 else 0]
    run = new_run(
        run_id, Task(name=task), created, name=task, input='{"folder":"/srv/data"}',
        queue=QUEUES[number // 10 % 4 if number % 2 else 0], priority=8 if number % 20 == 0 else 5, key=f"customer-{number % 10}", labels=f'{{"customer":"{number % 10}","order":"{number}"}}',
        parent_id=PARENT if number % 10 == 3 else None,
    )  # fmt: skip
    fields: dict[str, Any] = {name: getattr(run, name) for name in RUN_COLUMNS}
    fields["root_id"] = PARENT if run.parent_id else run_id
    history = [(run_id, 1, "run.state", created, '{"state":"queued","cause":"created","run_type":"api"}')]
    if not queued:
        state = ("failed", "terminated")[chance.random() < 0.3] if chance.random() < 0.15 else "succeeded"
        started, finished = created + 5, created + 5 + chance.randrange(10_000)
        fields |= {"state": state, "finished_at": finished, "updated_at": finished, "expires_at": finished + 90 * DAY}
        if state == "terminated":  # while it was queued
            fields |= {"seq": 2, "version": 2}
            cause = "stop_asked"
        else:
            fields |= {
                "attempt": 1,
                "epoch": 1,
                "started_at": started,
                "output": '{"files":12}',
                "seq": 3,
                "version": 3,
            }
            history.append((run_id, 2, "run.state", started, '{"state":"running","cause":"claimed","epoch":1}'))
            cause = {"failed": "errored"}.get(state, state)
        history.append((run_id, fields["seq"], "run.state", finished, f'{{"state":"{state}","cause":"{cause}"}}'))
    fields["state"] = str(fields["state"])
    return tuple(fields.values()), [("customer", str(number % 10), run_id), ("order", str(number), run_id)], history


class Stores:
    """The stores by name, and the URLs where they are."""

    def __init__(self, folder: Path, shares: dict[str, tuple[int, float]]) -> None:
        """`shares` says how many runs there are in each, and how many of them are queued."""
        self._folder = folder
        self._shares = shares
        self._databases = {name: ExitStack() for name in shares}
        self.urls: dict[str, str] = {}

    def make(self, name: str) -> None:
        """Make a store, or make it afresh: claims leave whole lanes of the small one empty."""
        path = self._folder / f"{name}.db"
        for part in self._folder.glob(f"{path.name}*"):
            part.unlink()
        runs, queued_share = self._shares[name]
        begun = time.monotonic()
        fill(path, runs, queued_share)
        took = time.monotonic() - begun
        self.urls[name] = f"sqlite:///{path}"
        if POSTGRES:
            self._databases[name].close()
            url = self._databases[name].enter_context(database())
            subprocess.run(
                [sys.executable, "-m", "headway", "migrate-store", self.urls[name], url], check=True, stdout=2
            )
            path.unlink()
            self.urls[name] = url
            _ask(url, "VACUUM ANALYZE")  # as autovacuum would have, in 20 days
        emit(bench="growth", metric=f"fill.{name}", unit="s", value=took, n=runs)

    def size(self, name: str) -> int:
        """Return its bytes."""
        path = None if POSTGRES else sqlite_path(self.urls[name])
        return (
            path.stat().st_size if path else int(_ask(self.urls[name], "SELECT pg_database_size(current_database())"))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._databases.values():
            held.close()


def _ask(url: str, statement: str) -> Any:
    import psycopg

    with closing(psycopg.connect(url, autocommit=True)) as connection:
        asked = connection.execute(statement)
        return asked.fetchone()[0] if asked.description else None


def opened(url: str) -> Store:
    """Open a store as a server does."""
    clock = SystemClock()
    if not is_postgres(url):
        return open_file(sqlite_path(url), clock, reserve_bytes=0)
    from headway.store.postgres.open import open_postgres

    return open_postgres(
        url, clock, server_id=IdSource().new(clock.now_ms()), host="bench", pid=os.getpid(), version="0"
    )


# -- what is timed -----------------------------------------------------------------------------------------------------


class Site:
    """A store, the service over it, and two workers: one claims from the lane of the starts, one from all 21."""

    def __init__(self, url: str) -> None:
        self.store = opened(url)
        self.service = Service(self.store, Signer(b"bench" * 8), Settings(lease_ms=10**9), features=FEATURES)
        self.workers: dict[str, str] = {}
        self.run_id = ""
        self.leases: list[wire.Lease] = []

    async def open(self) -> None:
        """Begin."""
        self.store.start()
        if self.store.peers is not None:
            await self.service.servers.join()
        for name, queues, tasks in (("", QUEUES[:1], TASKS[:1]), (".lanes", QUEUES, TASKS)):
            declared = [wire.TaskDeclaration(name=task) for task in tasks]
            asked = wire.RegisterWorker(queues=queues, tasks=declared, capacity=1000)
            self.workers[name] = (await self.service.of(1).workers.register(asked)).id
        (run, *_), _ = await self.service.of(1).runs.page(RunFilter(), Page())
        self.run_id = run.id

    async def close(self) -> None:
        """End."""
        if self.store.peers is not None:
            await self.service.servers.leave()
        await self.store.close()

    async def start(self) -> None:
        """One run."""
        await self.service.of(1).runs.start(StartRun(task=TASKS[0], queue=QUEUES[0], labels={"customer": "3"}))

    async def batch(self) -> None:
        """A hundred runs."""
        await self.service.of(1).runs.start_batch(StartBatch(runs=[StartRun(task=TASKS[0], queue=QUEUES[0])] * 100))

    async def claim(self, worker: str, count: int) -> None:
        """As a worker does."""
        self.leases = await self.service.of(1).workers.claim(wire.ClaimRuns(worker_id=self.workers[worker], max=count))
        if len(self.leases) != count:
            raise RuntimeError(f"claimed {len(self.leases)} of {count}")

    async def finish(self, worker: str) -> None:
        """What was claimed."""
        reports: list[wire.AnyReport] = [
            wire.SucceededReport(run_id=lease.run_id, epoch=lease.epoch) for lease in self.leases
        ]
        answer = await self.service.of(1).workers.report(
            wire.ReportRuns(worker_id=self.workers[worker], reports=reports)
        )
        if answer.rejected:
            raise RuntimeError(f"{answer.rejected[0]}")

    async def read(self) -> None:
        """A status read."""
        await self.service.of(1).runs.get(self.run_id)


def filters(now: int) -> dict[str, RunFilter]:
    """Return every list: one filter each, then pairs and those that find little."""
    return {
        "all": RunFilter(),
        "state": RunFilter(state=(State.QUEUED,)),
        "state.succeeded": RunFilter(state=(State.SUCCEEDED,)),
        "states": RunFilter(state=(State.FAILED, State.TERMINATED)),
        "states.final": RunFilter(state=FINAL),
        "task": RunFilter(task=(TASKS[3],)),
        "tasks": RunFilter(task=(TASKS[3], TASKS[5])),
        "queue": RunFilter(queue=(QUEUES[2],)),
        "label": RunFilter(labels={"customer": "3"}),
        "label.rare": RunFilter(labels={"order": "500"}),
        "labels": RunFilter(labels={"customer": "0", "order": "500"}),
        "label+state": RunFilter(labels={"customer": "3"}, state=(State.SUCCEEDED,)),
        "label+state.rare": RunFilter(labels={"customer": "3"}, state=(State.TERMINATED,)),
        "label+states": RunFilter(labels={"customer": "3"}, state=(State.FAILED, State.TERMINATED)),
        "parent": RunFilter(parent_id=PARENT),
        "root": RunFilter(root_id=PARENT),
        "key": RunFilter(key="customer-7"),
        "created": RunFilter(created_after=now - 10 * DAY, created_before=now - 5 * DAY),
        "created+state": RunFilter(
            created_after=now - 10 * DAY, created_before=now - 5 * DAY, state=(State.SUCCEEDED,)
        ),
        "finished": RunFilter(finished_after=now - 10 * DAY, finished_before=now - 5 * DAY),
        "finished+state": RunFilter(
            finished_after=now - 10 * DAY, finished_before=now - 5 * DAY, state=(State.FAILED,)
        ),
        "finished+task": RunFilter(finished_after=now - 10 * DAY, finished_before=now - 5 * DAY, task=(TASKS[3],)),
        "task+state": RunFilter(task=(TASKS[3],), state=(State.SUCCEEDED,)),
        "task+state.none": RunFilter(task=(TASKS[3],), state=(State.SUSPENDED,)),
        "task+state.rare": RunFilter(task=(TASKS[3],), state=(State.RUNNING,)),
        "task+queue.none": RunFilter(task=(TASKS[3],), queue=("default",)),
        "key+state.none": RunFilter(key="customer-7", state=(State.SUSPENDED,)),
    }


def query(wanted: RunFilter) -> str:
    """Return the same filter as the API has it."""
    pairs = [(name, str(value)) for name in ("state", "task", "queue") for value in getattr(wanted, name)]
    pairs += [(name, value) for name in ("parent_id", "root_id", "key") if (value := getattr(wanted, name))]
    for name in ("created_after", "created_before", "finished_after", "finished_before"):
        if (at := getattr(wanted, name)) is not None:
            pairs.append((name, to_text(at)))
    pairs += [(f"label.{name}", value) for name, value in wanted.labels.items()]
    return "/v1/runs?" + "&".join(f"{name}={quote(value)}" for name, value in pairs)


async def operations(bench: Bench, small: Site, large: Site, name: str) -> None:
    """Do each in turn on both stores."""
    times = 30 if bench.quick else 150

    async def claim_and_finish(site: Site, worker: str, count: int) -> tuple[float, float]:
        return await timed(lambda: site.claim(worker, count)), await timed(lambda: site.finish(worker))

    for site in (small, large):
        await site.open()
        for _ in range(10):
            await site.start()
    await reads(bench, small, large, name)
    for what, ask in {"start": Site.start, "start.batch100": Site.batch, "read": Site.read}.items():
        if not bench.wanted(f"{name}.{what}"):
            continue
        took = await alternately(ask, small, large, times * 10 if what == "read" else times)
        ratio(f"{name}.{what}", *took)
    for worker, count in (("", 1), ("", 100), (".lanes", 100)):
        if not any(bench.wanted(f"{name}.{what}{worker}") for what in ("claim", "finish")):
            continue
        both: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        for _ in range(times // 3 if count > 1 else times):
            for site, pairs in zip((small, large), both, strict=True):
                await (site.batch() if count > 1 else site.start())
                pairs.append(await claim_and_finish(site, worker, count))
        for index, what in enumerate(("claim", "finish")):
            ratio(f"{name}.{what}{worker}.{count}", *([pair[index] for pair in pairs] for pairs in both))


async def reads(bench: Bench, small: Site, large: Site, name: str) -> None:
    """Lists, and what is read beside them."""
    now = small.store.clock.now_ms()
    for what, wanted in filters(now).items():
        if bench.wanted(f"{name}.list.{what}"):
            await page(bench, f"{name}.list.{what}", wanted, small, large)
    for what, read in {
        "events": lambda site: site.service.of(1).history.events(site.run_id, 0, 51),
        "feed": lambda site: site.store.read.feed(1, 500, 51),
        "feed.end": lambda site: site.store.read.last_position(),
        "children": lambda site: site.service.of(1).runs.page(RunFilter(parent_id=PARENT), Page(newest_first=False)),
        "history": lambda site: site.service.of(1).runs.page(RunFilter(state=FINAL), Page(by_end=True)),
        "count": lambda site: site.service.of(1).runs.count(RunFilter(), "state"),
        "task.counts": lambda site: _value(site.service.of(1).tasks.counts(TASKS[3])),
        "queue.oldest": lambda site: site.service.of(1).queues.oldest(QUEUES[2]),
    }.items():
        if bench.wanted(f"{name}.list.{what}"):
            ratio(f"{name}.list.{what}", *await alternately(read, small, large, 30 if bench.quick else 200))


async def page(bench: Bench, metric: str, wanted: RunFilter, small: Site, large: Site) -> None:
    """The first page of a list; where it misses the bar, its plan on request."""
    at = Page(by_end=wanted.is_by_end)  # as the API has it
    rows = [len((await site.service.of(1).runs.page(wanted, at))[0]) for site in (small, large)]
    took = await alternately(
        lambda site: site.service.of(1).runs.page(wanted, at), small, large, 20 if bench.quick else 100
    )
    found = ratio(metric, *took, rows=rows)
    if found > BAR and bench.options.explain and not POSTGRES:
        lead, edge = choose(SQLITE, large.store.read.near, wanted, at, WINDOW)
        sql, binds = lists.page(SQLITE, wanted, at, 51, lead, edge)
        plan = large.store.read.near.select(f"EXPLAIN QUERY PLAN {sql}", binds)
        print(metric, *(f"    {row[3]}" for row in plan), sep="\n", file=sys.stderr)


async def alternately(
    read: Callable[[Site], Awaitable[Any]], small: Site, large: Site, times: int
) -> tuple[list[float], list[float]]:
    """Time a read on both; what takes long is done less often."""
    took: tuple[list[float], list[float]] = ([], [])
    until = time.monotonic() + 20
    for _ in range(times):
        for site, times_of in zip((small, large), took, strict=True):
            times_of.append(await timed(lambda site=site: read(site)))
        if time.monotonic() > until:
            break
    return took


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the microseconds that it takes."""
    begun = time.perf_counter_ns()
    await work()
    return (time.perf_counter_ns() - begun) / 1000


async def _value(found: object) -> object:
    return found


def ratio(metric: str, small: list[float], large: list[float], **more: Any) -> float:
    """Write the ratio of the medians."""
    before, after = statistics.median(small), statistics.median(large)
    emit(
        bench="growth",
        metric=metric,
        unit="x",
        value=after / before,
        small_us=before,
        large_us=after,
        times=len(large),
        **more,
    )
    return after / before


# -- over HTTP ---------------------------------------------------------------------------------------------------------


def over_http(bench: Bench, stores: Stores, folder: Path) -> None:
    """Serve all stores at once and ask each in turn; first, how long each takes to come up."""
    restarts: dict[str, list[float]] = {name: [] for name in stores.urls}
    for _ in range(bench.runs):
        for name, url in stores.urls.items():
            quiet(patience_s=5)
            begun = time.monotonic()
            with serving_store(url, folder) as served:
                restarts[name].append(time.monotonic() - begun)
                _readable(served)
    for name, times in restarts.items():
        emit(bench="growth", metric=f"restart.{name}", unit="s", runs=times)
        emit(bench="growth", metric=f"size.{name}", unit="MiB", value=stores.size(name) / 2**20)
    with Together(stores.urls, folder) as servers:
        times = 20 if bench.quick else 100
        now = SystemClock().now_ms()
        asked = {f"list.{what}": query(wanted) for what, wanted in filters(now).items()}
        asked |= {"list.events": "", "feed": "/v1/events?after=500", "tasks": "/v1/tasks", "queues": "/v1/queues"}
        asked |= {"count": "/v1/runs:count", "metrics": "/metrics"}
        asked |= {f"tadabase.{what}": f"/api/v1/tasks/{what}" for what in ("history", "status")}
        for what, path in asked.items():
            if not any(bench.wanted(f"{name}.http.{what}") for name in stores.urls):
                continue
            took: dict[str, list[float]] = {name: [] for name in stores.urls}
            until = time.monotonic() + 10
            for _ in range(times):
                for name, (connection, run_url) in servers.items():
                    took[name].append(_get(connection, path or f"{run_url}/events"))
                if time.monotonic() > until:
                    break
            for name in stores.urls:
                if name != "small" and bench.wanted(f"{name}.http.{what}"):
                    ratio(f"{name}.http.{what}", took["small"], took[name])
        for name, served in servers.served.items():
            emit(bench="growth", metric=f"memory.{name}", unit="MiB", value=pss_mib(served.processes))


def _readable(served: Served) -> None:
    """The store is in use, not just opened."""
    served.ask("GET", "/v1/runs?page_size=1")


class Together:
    """A server over each store, a connection to each, and the URL of one of its runs."""

    def __init__(self, urls: dict[str, str], folder: Path) -> None:
        self._stack = ExitStack()
        self.served = {name: self._stack.enter_context(serving_store(url, folder)) for name, url in urls.items()}
        self._ready = {}
        for name, served in self.served.items():
            run = served.ask("GET", "/v1/events?after=500&page_size=1")["data"][0]["run_id"]
            self._ready[name] = http.client.HTTPConnection("127.0.0.1", served.port), f"/v1/runs/{run}"

    def items(self) -> Iterator[tuple[str, tuple[http.client.HTTPConnection, str]]]:
        """By name."""
        yield from self._ready.items()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _get(connection: http.client.HTTPConnection, path: str) -> float:
    begun = time.perf_counter_ns()
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
    return (time.perf_counter_ns() - begun) / 1000


def main() -> None:
    """Measure."""
    options = (
        ("--n", {"type": int, "help": "runs in the large stores (1,000,000)"}),
        ("--explain", {"action": "store_true", "help": "print the plans of lists that miss the bar"}),
    )
    bench = Bench("growth", __doc__ or "", *options)
    count = bench.options.n or (100_000 if bench.quick else 1_000_000)
    shares = {"small": (1000, 0.5), "finished": (count, 1000 / count), "queued": (count, 1 - 1000 / count)}
    with bench.folder() as folder, Stores(folder, shares) as stores:
        asked = bench.options.only.split(",") if bench.options.only else list(shares)
        large = [name for name in shares if name != "small" and any(name in what for what in asked)]
        for name in ("small", *large):
            stores.make(name)
        for name in large:
            asyncio.run(_in_process(bench, stores, name))
            stores.make("small")
        over_http(bench, stores, folder)


async def _in_process(bench: Bench, stores: Stores, name: str) -> None:
    sites = [Site(stores.urls["small"]), Site(stores.urls[name])]
    try:
        await operations(bench, *sites, name)
    finally:
        for site in sites:
            await site.close()


if __name__ == "__main__":
    main()
