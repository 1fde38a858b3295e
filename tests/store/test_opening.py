"""Opening a store: alone, complete, private, and never one from the future."""

import os
import stat
import subprocess
import sys

import apsw
import pytest
from tests.harness import on_disk
from tests.rows import verify
from tests.running import of_sqlite

from headway.clock import ManualClock
from headway.errors import RunPurged
from headway.kernel.query import Page, RunFilter
from headway.store.database import StorageBroken
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.lock import StoreInUse
from headway.store.sqlite.migrate import SchemaTooNew, migrate
from headway.store.sqlite.open import open_file
from headway.store.statements import migrations

OPEN = """
import sys, pathlib
from headway.clock import SystemClock
from headway.store.sqlite.open import open_file
open_file(pathlib.Path(sys.argv[1]), SystemClock(), reserve_bytes=0)
"""


def schema(connection):
    return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()


@of_sqlite("disk")
async def test_a_new_store_is_the_sum_of_all_migrations(disk):
    connection = apsw.Connection(":memory:")
    assert [number for number, _, _ in migrations(SQLITE)] == migrate(connection, 1)
    assert schema(connection) == schema(disk.connection())
    assert [] == migrate(connection, 2), "there is nothing more to do"


@pytest.mark.parametrize("point", ["migration.before_commit", "migration.after_commit"])
def test_a_store_killed_while_it_is_made_opens_afterwards(tmp_path, point):
    path = tmp_path / "s.db"
    environment = {**os.environ, "HEADWAY_FAIL_POINT": point, "PYTHONPATH": "src"}
    killed = subprocess.run([sys.executable, "-c", OPEN, path], env=environment, check=False)
    assert -9 == killed.returncode
    store = open_file(path, ManualClock(), reserve_bytes=0)
    assert [] == verify(store.read.near.connection)


async def test_a_store_from_the_future_is_refused_in_one_sentence(disk, tmp_path):
    connection = apsw.Connection(str(tmp_path / "f.db"))
    migrate(connection, 1)
    connection.execute("INSERT INTO migrations VALUES (9999, 'later', 1)")
    connection.close()
    with pytest.raises(SchemaTooNew, match=r"migration 9999.*install a newer Headway"):
        open_file(tmp_path / "f.db", ManualClock(), reserve_bytes=0)
    with pytest.raises(SchemaTooNew):  # and the file was let go
        open_file(tmp_path / "f.db", ManualClock(), reserve_bytes=0)


@of_sqlite("disk")
async def test_a_store_is_held_by_one_server(disk):
    with pytest.raises(StoreInUse, match="is in use by another server"):
        open_file(disk.path, ManualClock(), reserve_bytes=0)
    await disk.restart()


@of_sqlite("disk")
async def test_a_store_is_readable_by_its_owner_only(disk):
    await disk.worker()
    files = [file for file in disk.path.parent.iterdir() if file.name.startswith("headway.db")]
    assert {"headway.db", "headway.db-wal", "headway.db-shm", "headway.db.lock"} <= {file.name for file in files}
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in files}


@pytest.mark.parametrize("content", [b"this is no database, but a text of some length. " * 40])
def test_what_is_no_store_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(StorageBroken):
        open_file(path, ManualClock(), reserve_bytes=0)
    assert content == path.read_bytes()


@of_sqlite("disk")
async def test_commits_are_synced_before_they_are_answered(disk):
    writing = disk.store._connections[0].connection
    assert (2, "wal") == (writing.execute("PRAGMA synchronous").get, writing.execute("PRAGMA journal_mode").get)


async def test_a_store_of_before_organisations_is_upgraded_and_all_of_it_is_the_first_ones(tmp_path):
    harness = on_disk(tmp_path / "new.db")
    worker = await harness.worker()
    kept = await harness.finished(worker, labels={"a": "b"}, key="k")
    removed = await harness.finished(worker)
    await harness.runs.delete(removed.id)
    await harness.close()
    old = apsw.Connection(str(tmp_path / "old.db"))
    number, name, sql = migrations(SQLITE)[0]
    old.execute(sql)
    old.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)")
    old.execute("ATTACH ? AS new", (str(tmp_path / "new.db"),))
    for (table,) in old.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall():
        columns = ", ".join(row[1] for row in old.execute(f"PRAGMA main.table_info({table})"))
        old.execute(f"INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
    old.execute("DELETE FROM migrations WHERE number > ?", (number,))
    assert "organisation" not in old.execute("SELECT group_concat(sql) FROM main.sqlite_master").get, name
    old.close()
    upgraded = on_disk(tmp_path / "old.db")
    assert [kept] == (await upgraded.runs.page(RunFilter(labels={"a": "b"}, key="k", task=("t",)), Page()))[0]
    with pytest.raises(RunPurged):
        await upgraded.runs.get(removed.id)
    assert [(1, "default", "UTC", "active")] == upgraded.sql("SELECT id, name, zone, state FROM organisations")
    await upgraded.close()
