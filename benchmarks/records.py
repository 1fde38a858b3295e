"""Record tasks against a plain SQL loop: 1 million records updated in batches of the same size. The bar is half its speed.

Copies of one store, changed in turn: by a run of a record task in a server's service, with its cursor, progress and history;
and by a loop of statements, `UPDATE … WHERE id > ? AND id <= ?`, each batch committed, on a connection with the same settings
(every commit is on disk). The loop is what one would write for just this: it has the record as a document and a version, as
we do, since fields are made at run time; but it keeps no index of its own to which the task would have to add, and where the
field is indexed it is so by the database's own index on that member of the document, which is the least work there is.

    plain, task                 records a second: one value given to all, 2,000 in a transaction
    ratio                       task to plain
    plain.indexed, task.indexed the same for a field that is indexed
    ratio.indexed               task.indexed to plain.indexed
    plain.columns               for comparison: the indexed field is a column of a table of columns, whose fields never change
    plain.each, task.templates  records a second if each is read, changed by Python and written, 500 in a transaction; the
                                task's value is the text of a template; 50,000 of them are enough to know
    ratio.each                  task.templates to plain.each
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
from kit import Bench

from headway.clock import SystemClock
from headway.config import Settings
from headway.features.record_tasks.executor import PAGE, RECORDS
from headway.features.record_tasks.patch import PATCH_SIZE
from headway.features.record_tasks.service import RecordTasks
from headway.features.tables.definitions import Tables
from headway.ids import IdSource, Signer
from headway.protocol.record_tasks import CreateRecordTask
from headway.protocol.runs import StartRun
from headway.protocol.tables import CreateTable
from headway.runs.built_in.worker import BuiltInWorker
from headway.runs.service import Service
from headway.server import FEATURES
from headway.store.sqlite.open import open_file

FIELDS = [
    {"name": "Name"}, {"name": "Age", "type": "number"}, {"name": "City"}, {"name": "Status"},
    {"name": "Team", "indexed": True},
]  # fmt: skip
ACTIONS = {
    "Patch": {"Status": "seen"},
    "Indexed": {"Team": "blue"},
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
    return Service(store, Signer(b"x" * 32), Settings(), features=FEATURES)


async def make(path: Path, count: int) -> None:
    """Make a store with one table of so many records, and the tasks."""
    service = service_on(path)
    services = service.of(1)
    table = await services.get(Tables).create(msgspec.convert({"name": "people", "fields": FIELDS}, CreateTable))
    for name, given in ACTIONS.items():
        asked = {"name": name, "table": "people", "actions": [{"action": "update", "set": given}]}
        await services.get(RecordTasks).create(msgspec.convert(asked, CreateRecordTask))
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
    own = BuiltInWorker.of_executor(service, RECORDS)
    own.start()
    services = service.of(1)
    began = time.perf_counter()
    started = await services.runs.start(StartRun(task=name))
    run = started.run
    while not run.final:
        run = await services.runs.wait(run.id, 60, lambda run: run.final)
    took = time.perf_counter() - began
    assert (run.state, run.progress_done) == ("succeeded", count), run
    await own.stop()
    await service.gateway.close()
    await service.store.close()
    return count / took


DOCUMENTS = (
    "SELECT max(id) FROM (SELECT id FROM records WHERE table_number = 1 AND id > ? ORDER BY id LIMIT ?)",
    (
        "UPDATE records SET data = json_patch(data, {}), version = version + 1, updated_at = ?"
        " WHERE table_number = 1 AND id > ? AND id <= ?"
    ),
)
COLUMNS = (
    "SELECT max(id) FROM (SELECT id FROM people WHERE id > ? ORDER BY id LIMIT ?)",
    "UPDATE people SET team = 'blue', version = version + 1, updated_at = ? WHERE id > ? AND id <= ?",
)
OWN_INDEX = (
    "DELETE FROM record_values",
    "CREATE INDEX people_by_team ON records (table_number, data ->> 'field_5', id)",
)
OWN_COLUMNS = (
    (
        "CREATE TABLE people (id TEXT PRIMARY KEY, version INTEGER NOT NULL, name TEXT, age INTEGER, city TEXT, status TEXT,"
        " team TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT"
    ),
    (
        "INSERT INTO people SELECT id, version, data ->> 'field_1', data ->> 'field_2', data ->> 'field_3', NULL,"
        " data ->> 'field_5', created_at, updated_at FROM records ORDER BY id"
    ),
    "CREATE INDEX people_by_team ON people (team)",
    "DELETE FROM records",
    "DELETE FROM record_values",
)


def prepared(made: Path, path: Path, statements: tuple[str, ...]) -> Path:
    """Return a copy of the store in which the table is kept as one would for the loop alone."""
    database = apsw.Connection(str(shutil.copy(made, path)))
    for statement in ("PRAGMA synchronous = OFF", *statements, "PRAGMA wal_checkpoint(TRUNCATE)"):
        database.execute(statement).fetchall()
    database.close()
    return path


def plainly(path: Path, count: int, statements: tuple[str, str]) -> float:
    """Return records a second of the loop."""
    edge_of, update = statements
    database = connected(path)
    began = time.perf_counter()
    after, changed = "", 0
    while True:
        database.execute("BEGIN IMMEDIATE")
        edge = database.execute(edge_of, (after, PATCH_SIZE)).fetchall()[0][0]
        if edge is None:
            database.execute("COMMIT")
            break
        database.execute(update, (1, after, edge))
        changed += database.changes()
        database.execute("COMMIT")
        after = edge
    took = time.perf_counter() - began
    database.close()
    assert changed == count
    return count / took


def plainly_each(path: Path, count: int) -> float:
    """Return records a second of the loop that reads each record, changes it and writes it."""
    database = connected(path)
    decode, encode = msgspec.json.Decoder(dict[str, Any]).decode, msgspec.json.Encoder().encode
    began = time.perf_counter()
    after, changed = "", 0
    while True:
        database.execute("BEGIN IMMEDIATE")
        rows = database.execute(
            "SELECT id, data FROM records WHERE table_number = 1 AND id > ? ORDER BY id LIMIT ?", (after, PAGE)
        ).fetchall()
        new = []
        for record_id, data in rows:
            values = decode(data)
            values["field_4"] = f"{values['field_1'].upper()}, {values['field_2']}"
            new.append((encode(values).decode(), 1, record_id))
        database.executemany(
            "UPDATE records SET data = ?, version = version + 1, updated_at = ? WHERE table_number = 1 AND id = ?", new
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


EACH: Final = 50_000
"""How many records are changed one by one."""


def main() -> None:
    """Measure."""
    bench = Bench("records", __doc__ or "", ("--n", {"type": int, "help": "records"}))
    count = bench.options.n or (50_000 if bench.quick else 1_000_000)
    with bench.folder() as folder:
        made = folder / "made.db"
        asyncio.run(make(made, count))
        few, some = min(count, EACH), folder / "some.db"
        asyncio.run(make(some, few))

        indexed = prepared(made, folder / "indexed.db", OWN_INDEX)
        columns = prepared(made, folder / "columns.db", OWN_COLUMNS)

        def fresh(source: Path) -> Path:
            for old in folder.glob("copy*"):
                old.unlink()
            return Path(shutil.copy(source, folder / "copy.db"))

        def task(name: str, source: Path = made, records: int = count) -> float:
            return asyncio.run(by_task(fresh(source), name, records))

        alike, team = DOCUMENTS[1].format("""'{"field_4":"seen"}'"""), DOCUMENTS[1].format("""'{"field_5":"blue"}'""")
        measured: dict[str, Callable[[], float]] = {
            "plain": lambda: plainly(fresh(made), count, (DOCUMENTS[0], alike)),
            "task": lambda: task("Patch"),
            "plain.indexed": lambda: plainly(fresh(indexed), count, (DOCUMENTS[0], team)),
            "task.indexed": lambda: task("Indexed"),
            "plain.columns": lambda: plainly(fresh(columns), count, COLUMNS),
            "plain.each": lambda: plainly_each(fresh(some), few),
            "task.templates": lambda: task("Templates", some, few),
        }
        wanted = {name: each for name, each in measured.items() if bench.wanted(name)}
        rates: dict[str, list[float]] = {name: [] for name in wanted}
        for _ in bench.repeat():
            for name, each in wanted.items():
                rates[name].append(each())
        for name, runs in rates.items():
            bench.emit(name, "records/s", runs, records=few if name in ("plain.each", "task.templates") else count)
        for name, ours, theirs, bar in (
            ("ratio", "task", "plain", 0.5), ("ratio.indexed", "task.indexed", "plain.indexed", 0.5),
            ("ratio.columns", "task.indexed", "plain.columns", None), ("ratio.each", "task.templates", "plain.each", None),
        ):  # fmt: skip
            if ours in rates and theirs in rates:
                bench.emit(name, "x", [a / b for a, b in zip(rates[ours], rates[theirs], strict=True)], bar=bar)


if __name__ == "__main__":
    main()
