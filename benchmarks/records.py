"""Record tasks against a plain SQL loop: 1 million records updated in batches of the same size. The bar is half its speed.

Two copies of one store, changed in turn: by a run of a record task in a server's service, with its cursor, progress and
history; and by a loop of statements on the same table, `UPDATE … WHERE id > ? AND id <= ?`, each batch committed, on a
connection with the same settings (every commit is on disk).

    plain, task                 records a second: one value given to all, 2,000 in a transaction
    ratio                       task to plain
    plain.each, task.each       the same for a field in the index: each record read, changed and written, 500 in a transaction;
                                the plain loop writes record and index too
    ratio.each                  task.each to plain.each
    task.templates              records a second if the value is the text of a template
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import apsw
import msgspec
from kit import Bench

from headway.actions.executor import BuiltInWorker
from headway.actions.records import PAGE
from headway.clock import SystemClock
from headway.config import Settings
from headway.ids import IdSource, Signer
from headway.model.record_task import EXECUTOR
from headway.service.record_runs import PATCHED
from headway.service.service import Service
from headway.storage.sqlite.open import open_file
from headway.wire.record_tasks import CreateRecordTask
from headway.wire.runs import StartRun
from headway.wire.tables import CreateTable

FIELDS = [
    {"name": "Name"}, {"name": "Age", "type": "number"}, {"name": "City"}, {"name": "Status"},
    {"name": "Team", "indexed": True},
]  # fmt: skip
ACTIONS = {
    "Patch": {"Status": "seen"},
    "Each": {"Team": "blue"},
    "Templates": {"Status": {"template": "{{ record.Name | upper }}, {{ record.Age }}"}},
}
SETTINGS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 4000",
    "cache_size = -32768",
    "temp_store = MEMORY",
)


def service_on(path: Path) -> Service:
    """Return a service on the file, as a server has it."""
    store = open_file(path, SystemClock(), reserve_bytes=0)
    store.start()
    return Service(store, Signer(b"x" * 32), Settings())


async def make(path: Path, count: int) -> None:
    """Make a store with one table of so many records, and the tasks."""
    service = service_on(path)
    desk = service.of(1)
    table = await desk.tables.create(msgspec.convert({"name": "people", "fields": FIELDS}, CreateTable))
    for name, given in ACTIONS.items():
        asked = {"name": name, "table": "people", "actions": [{"action": "update", "set": given}]}
        await desk.record_tasks.create(msgspec.convert(asked, CreateRecordTask))
    await service.gateway.close()
    await service.store.close()
    ids, now = IdSource(), SystemClock().now_ms()
    database = apsw.Connection(str(path))
    for pragma in ("synchronous = OFF", "journal_mode = MEMORY", "cache_size = -1000000"):
        database.execute(f"PRAGMA {pragma}").fetchall()
    with database:
        for number in range(count):
            values = {
                "field_1": f"person {number}",
                "field_2": number % 97,
                "field_3": f"city {number % 1000}",
                "field_5": "red",
            }
            record_id = ids.new(now)
            database.execute(
                "INSERT INTO records VALUES (?, ?, 1, ?, ?, ?)",
                (table.number, record_id, msgspec.json.encode(values).decode(), now, now),
            )
            database.execute("INSERT INTO record_values VALUES (?, 'field_5', 'red', ?, 0)", (table.number, record_id))
        database.execute("UPDATE tables SET count = ? WHERE number = ?", (count, table.number))
    database.execute("PRAGMA journal_mode = WAL").fetchall()
    database.close()


async def by_task(path: Path, name: str, count: int) -> float:
    """Return records a second of a run."""
    service = service_on(path)
    own = BuiltInWorker(service, EXECUTOR)
    own.start()
    desk = service.of(1)
    began = time.perf_counter()
    started = await desk.runs.start(StartRun(task=name))
    run = started.run
    while not run.final:
        run = await desk.runs.wait(run.id, 60, lambda run: run.final)
    took = time.perf_counter() - began
    assert (run.state, run.progress_done) == ("succeeded", count), run
    await own.stop()
    await service.gateway.close()
    await service.store.close()
    return count / took


def plainly(path: Path, count: int) -> float:
    """Return records a second of the loop."""
    database = connected(path)
    began = time.perf_counter()
    after, changed = "", 0
    while True:
        database.execute("BEGIN IMMEDIATE")
        edge = database.execute(
            "SELECT max(id) FROM (SELECT id FROM records WHERE table_number = 1 AND id > ? ORDER BY id LIMIT ?)",
            (after, PATCHED),
        ).fetchall()[0][0]
        if edge is None:
            database.execute("COMMIT")
            break
        database.execute(
            "UPDATE records SET data = json_patch(data, ?), version = version + 1, updated_at = ?"
            " WHERE table_number = 1 AND id > ? AND id <= ?",
            ('{"field_4":"seen"}', 1, after, edge),
        )
        changed += database.changes()
        database.execute("COMMIT")
        after = edge
    took = time.perf_counter() - began
    database.close()
    assert changed == count
    return count / took


def plainly_each(path: Path, count: int) -> float:
    """Return records a second of the loop that reads each record, and writes it and its index."""
    database = connected(path)
    decode, encode = msgspec.json.Decoder(dict[str, Any]).decode, msgspec.json.Encoder().encode
    began = time.perf_counter()
    after, changed = "", 0
    while True:
        database.execute("BEGIN IMMEDIATE")
        rows = database.execute(
            "SELECT id, data FROM records WHERE table_number = 1 AND id > ? ORDER BY id LIMIT ?", (after, PAGE)
        ).fetchall()
        new = [(encode(decode(data) | {"field_5": "blue"}).decode(), 1, each_id) for each_id, data in rows]
        database.executemany(
            "UPDATE records SET data = ?, version = version + 1, updated_at = ? WHERE table_number = 1 AND id = ?", new
        )
        database.executemany(
            "DELETE FROM record_values WHERE table_number = 1 AND field = 'field_5' AND value = 'red' AND record_id = ?",
            [(each_id,) for each_id, _ in rows],
        )
        database.executemany(
            "INSERT INTO record_values VALUES (1, 'field_5', 'blue', ?, 0)", [(each_id,) for each_id, _ in rows]
        )
        database.execute("COMMIT")
        if not rows:
            break
        changed += len(rows)
        after = rows[-1][0]
    took = time.perf_counter() - began
    database.close()
    assert changed == count
    return count / took


def connected(path: Path) -> apsw.Connection:
    """Return a connection with the settings that the writer has."""
    database = apsw.Connection(str(path))
    for setting in SETTINGS:
        database.execute(f"PRAGMA {setting}").fetchall()
    return database


def main() -> None:
    """Measure."""
    bench = Bench("records", __doc__ or "", ("--n", {"type": int, "help": "records"}))
    count = bench.options.n or (50_000 if bench.quick else 1_000_000)
    with bench.folder() as folder:
        made = folder / "made.db"
        asyncio.run(make(made, count))

        def fresh(name: str) -> Path:
            for old in folder.glob("copy*"):
                old.unlink()
            return Path(shutil.copy(made, folder / f"copy-{name}.db"))

        rates: dict[str, list[float]] = {
            name: [] for name in ("plain", "task", "plain.each", "task.each", "task.templates")
        }
        for _ in bench.repeat():
            rates["plain"].append(plainly(fresh("plain"), count))
            rates["task"].append(asyncio.run(by_task(fresh("task"), "Patch", count)))
            rates["plain.each"].append(plainly_each(fresh("plain-each"), count))
            rates["task.each"].append(asyncio.run(by_task(fresh("task-each"), "Each", count)))
            rates["task.templates"].append(asyncio.run(by_task(fresh("templates"), "Templates", count)))
        for name, runs in rates.items():
            bench.emit(name, "records/s", runs, records=count)
        pairs = (("ratio", "task", "plain"), ("ratio.each", "task.each", "plain.each"))
        for name, ours, theirs in pairs:
            bench.emit(name, "x", [a / b for a, b in zip(rates[ours], rates[theirs], strict=True)], bar=0.5)


if __name__ == "__main__":
    main()
