"""A store moves from a file into PostgreSQL: whole, in its order, at whatever point the move is stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import apsw
import psycopg
import pytest
from tests.harness import START, declare, on_disk, on_postgres, spec
from tests.postgres.cluster import Cluster
from tests.rows import verify_postgres as verify

from headway.clock import ManualClock, SystemClock
from headway.kernel.run import State
from headway.protocol import workers as wire
from headway.store.database import DatabaseGone, SchemaTooNew, StoreRefused
from headway.store.location import secret_of
from headway.store.postgres.open import open_postgres, prepare, secret_in
from headway.store.sqlite.open import open_file
from headway.store.transfer.schema import STAY, tables
from headway.store.transfer.transfer import Unequal, move

FEW = 3
"""Rows in a part, so that a small store moves in many."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "headway.db"


def filled(path):
    """Return the file, with at least one row in every table that is moved, of every kind of value."""
    connection = apsw.Connection(str(path))
    for table in tables():
        values = []
        described = connection.execute('SELECT name, type, "notnull" FROM pragma_table_info(?)', (table.name,))
        for name, kind, needed in described.fetchall():
            given = {"state": "queued", "outcome": "ran", "data": '{"a": "\\u0000 \\\\ \t \n ä 🙂"}', "attempt": 0}
            plain = {"TEXT": "x", "INTEGER": 1, "REAL": 0.1 + 0.2}[kind]
            nothing = not needed and name in {"worker_id", "finished_at", "expires_at", "parked_until", "next_at"}
            values.append(None if nothing else given.get(name, plain))
        if table.name == "workers":
            values[table.columns.index("state")] = "gone"
        if table.name == "users":
            values[table.columns.index("state")] = "active"
        if not connection.execute(f"SELECT 1 FROM {table.name}").fetchall():
            connection.execute(f"INSERT INTO {table.name} VALUES ({', '.join('?' * len(values))})", values)
    connection.execute("UPDATE organisations SET id = 2")  # the first is there from the start
    connection.close()
    return path


async def busy(path):
    """Make a store with a history: runs that ended, wait, run, are parked; return the harness, still open."""
    harness = on_disk(path)
    worker = await harness.worker(declare(), declare("slow", concurrency_per_key=1))
    for number in range(4):
        await harness.start("t", {"n": number}, labels={"a": str(number)})
    await harness.start_many(*[spec("slow", key="k") for _ in range(3)])
    lease, other, *_ = await harness.claim(worker, 4)
    await harness.tell(worker, lease, wire.ResultReport, value=b'"\\u0000 and \\\\N"')
    await harness.succeed(worker, lease, {"a": [1.5, None]})
    await harness.fail(worker, other, type="E", message="a\tb\nc\\d")
    return harness, worker


def rows(path, url):
    """Return every row of every table that is moved, of both ends."""
    stay = ("servers", "limits", "position_base", "secret", "moving", "moved")
    here, there = apsw.Connection(str(path)), psycopg.connect(url)
    with contextlib.closing(here), contextlib.closing(there):
        where = {"store": f"WHERE name NOT IN {stay}"}
        queries = {
            table.name: f"SELECT {', '.join(table.columns)} FROM {table.name} {where.get(table.name, '')}"
            for table in tables()
        }
        return tuple(
            {name: sorted(map(repr, end.execute(query).fetchall())) for name, query in queries.items()}
            for end in (here, there)
        )


def moved(path, url, **how):
    return move(path, url, ManualClock(START), rows_at_once=FEW, **how)


def empty(path):
    """Make a store that has nothing in it."""
    store = open_file(path, ManualClock(START), reserve_bytes=0)
    store.read.close()
    store._connections[0].close()
    store._on_close()
    return path


# -- what is moved -------------------------------------------------------------------------------------------------------------


def test_every_table_that_a_migration_makes_is_moved_but_those_that_stay(postgres_store):
    """The schema is the list: a table that is added later is in it, or this fails."""
    with psycopg.connect(postgres_store) as connection:
        columns = """
            SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position)
            FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name
        """
        keys = """
            SELECT indrelid::regclass::text, array_agg(attname::text ORDER BY array_position(indkey::int[], attnum::int))
            FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
            WHERE indisprimary AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
            GROUP BY indrelid
        """
        made = {name: tuple(found) for name, found in connection.execute(columns)}
        keyed = {name: tuple(found) for name, found in connection.execute(keys)}
    assert {table.name: table.columns for table in tables()} == {
        name: found for name, found in made.items() if name not in STAY
    }
    assert {table.name: table.key for table in tables()} == {
        name: found for name, found in keyed.items() if name not in STAY
    }
    assert {"migrations", "servers"} == STAY, "whatever else stays must be a decision"


async def test_every_row_arrives_as_it_was(path, postgres_url):
    harness, _ = await busy(path)
    await harness.close()
    filled(path)
    report = moved(path, postgres_url)
    here, there = rows(path, postgres_url)
    assert here == there
    assert all(here.values())
    assert {table.table: table.rows for table in report.tables} == {name: len(found) for name, found in here.items()}
    assert (report.rows, report.resumed, report.already) == (sum(map(len, here.values())), False, False)


async def test_what_has_arrived_is_a_sound_store(path, postgres_url):
    harness, _ = await busy(path)
    await harness.close()
    moved(path, postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert verify(connection) == []


def test_an_empty_store_moves_too(path, postgres_url):
    assert moved(empty(path), postgres_url).rows == 1, "the organisation that it begins with"
    prepare(postgres_url, ManualClock(START))


async def test_the_file_stays_as_it_is(path, postgres_url):
    harness, _ = await busy(path)
    await harness.close()
    before = path.read_bytes()
    moved(path, postgres_url)
    assert path.read_bytes() == before


async def test_tokens_that_are_out_stay_good(path, postgres_url):
    secret = secret_of(path, "")
    moved(empty(path), postgres_url)
    assert secret_in(postgres_url, "") == secret


# -- stopped and gone on with --------------------------------------------------------------------------------------------------


class Stopped(Exception):
    """Somebody has pulled the plug."""


async def test_a_move_that_is_stopped_after_each_part_goes_on_without_doubling(path, postgres_url):
    harness, _ = await busy(path)
    await harness.close()
    filled(path)
    told = []

    def stop(step):
        told.append(step)
        raise Stopped

    report = None
    while report is None:
        with contextlib.suppress(Stopped):
            report = moved(
                path, postgres_url, tell=stop if len(told) < 1000 and not _whole(told) else lambda step: None
            )
    assert report.resumed
    here, there = rows(path, postgres_url)
    assert here == there
    copied = [step.done for step in told if step.phase == "copy"]
    assert copied == sorted(copied), "no part was copied again"
    assert len(copied) > len(tables()) + 5


def _whole(told):
    """Tell whether the comparison was stopped too, three times."""
    return sum(step.phase == "verify" for step in told) >= 3


@pytest.mark.parametrize("point", ["moving.before_commit:4", "moving.after_commit:4", "moving.before_commit:9"])
def test_a_move_that_is_killed_goes_on(path, postgres_url, point):
    filled(empty(path))
    code = (
        "import sys; from pathlib import Path; from headway.clock import SystemClock\n"
        "from headway.store.transfer.transfer import move\n"
        f"move(Path(sys.argv[1]), sys.argv[2], SystemClock(), rows_at_once={FEW})"
    )
    environment = {**os.environ, "PYTHONPATH": "src", "HEADWAY_FAIL_POINT": point}
    ended = subprocess.run([sys.executable, "-c", code, path, postgres_url], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert moved(path, postgres_url).resumed
    here, there = rows(path, postgres_url)
    assert here == there


def test_a_database_that_crashes_underneath_is_gone_on_with(path, postgres_installation):
    """What the crash has taken, of parts that nobody waited for, goes together with the note of how far the move is."""
    filled(empty(path))
    with Cluster(installation=postgres_installation) as cluster:
        url = cluster.url(cluster.create_database())
        told = []

        def crash(step):
            told.append(step)
            if len(told) == 5:
                cluster.query("CHECKPOINT")  # so far it stays
            if len(told) == 9:
                cluster.kill()

        with pytest.raises(DatabaseGone, match="start the move again, and it goes on"):
            moved(path, url, tell=crash)
        cluster.restart()
        assert moved(path, url).resumed
        here, there = rows(path, url)
        assert here == there


async def test_a_store_that_is_half_there_is_not_served(path, postgres_url):
    harness, _ = await busy(path)
    await harness.close()

    def stop(step):
        raise Stopped

    with pytest.raises(Stopped):
        moved(path, postgres_url, tell=stop)
    with pytest.raises(StoreRefused, match="start it again if it was stopped, or drop the database"):
        _serve(postgres_url)
    moved(path, postgres_url)
    _serve(postgres_url).read.near.close()


def _serve(url):
    return open_postgres(url, ManualClock(START), threaded=False, server_id="s", host="h", pid=1, version="0")


async def test_a_move_that_is_done_is_not_done_again(path, postgres_url):
    harness, _ = await busy(path)
    await harness.close()
    first = moved(path, postgres_url)
    again = moved(path, postgres_url)
    assert again.already
    assert again.tables == first.tables


# -- what is refused -----------------------------------------------------------------------------------------------------------


async def test_a_file_that_a_server_has_is_refused(path, postgres_url):
    harness, _ = await busy(path)
    with pytest.raises(StoreRefused, match="is in use by a server: stop that first"):
        moved(path, postgres_url)
    await harness.close()


def test_a_file_that_is_not_there_is_refused_and_not_made(path, postgres_url):
    with pytest.raises(StoreRefused, match="there is no store at"):
        moved(path, postgres_url)
    assert not path.exists()


def test_a_file_of_another_schema_is_refused(path, postgres_url):
    connection = apsw.Connection(str(empty(path)))
    connection.execute("INSERT INTO migrations VALUES (9999, 'later', 1)")
    with pytest.raises(SchemaTooNew, match="install a newer Headway"):
        moved(path, postgres_url)
    connection.execute("DELETE FROM migrations")
    with pytest.raises(StoreRefused, match="start a server on it once"):
        moved(path, postgres_url)
    connection.close()


def test_a_newer_database_is_refused(path, postgres_store):
    with psycopg.connect(postgres_store) as connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 'later', 1)")
    with pytest.raises(SchemaTooNew, match="install a newer Headway"):
        moved(empty(path), postgres_store)


def test_a_database_of_another_program_is_refused_and_left_alone(path, postgres_url):
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE runs (id int)")
    with pytest.raises(StoreRefused, match="make one for Headway alone"):
        moved(empty(path), postgres_url)


@pytest.mark.parametrize("table", [table.name for table in tables()])
def test_a_database_that_has_anything_is_refused(path, postgres_store, table, tmp_path):
    """Whatever table it is in: a row that is there already would be mixed with those that come."""
    source = filled(empty(tmp_path / "other.db"))
    columns = next(found.columns for found in tables() if found.name == table)
    (row,) = apsw.Connection(str(source)).execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
    with psycopg.connect(postgres_store) as connection:
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})", row)
    with pytest.raises(StoreRefused, match=f"the database is not empty \\(there are {table}\\)"):
        moved(empty(path), postgres_store)


def test_a_database_with_the_move_of_another_store_is_refused(path, postgres_url, tmp_path):
    def stop(step):
        raise Stopped

    with pytest.raises(Stopped):
        moved(empty(path), postgres_url, tell=stop)
    other = filled(empty(tmp_path / "other.db"))
    with pytest.raises(StoreRefused, match="this is another store, or a server has used it since"):
        moved(other, postgres_url)


async def test_a_store_that_was_served_between_two_parts_is_refused(path, postgres_url):
    def stop(step):
        raise Stopped

    harness, _ = await busy(path)
    await harness.close()
    with pytest.raises(Stopped):
        moved(path, postgres_url, tell=stop)
    harness = on_disk(path)
    await harness.start("t")
    await harness.close()
    with pytest.raises(StoreRefused, match="a server has used it since"):
        moved(path, postgres_url)


def test_a_row_that_changes_after_it_was_copied_is_found(path, postgres_url):
    filled(empty(path))

    def change(step):
        if step.phase == "copy" and step.table == "runs":
            connection = apsw.Connection(str(path))
            connection.execute("UPDATE runs SET name = 'other'")
            connection.close()

    with pytest.raises(Unequal, match='the row \\["x"\\] of runs is not the same at both ends'):
        moved(path, postgres_url, tell=change)
    with pytest.raises(StoreRefused):
        prepare(postgres_url, ManualClock(START))


@pytest.mark.parametrize("change", ["DELETE FROM steps", "INSERT INTO steps VALUES ('a', 'b', '1', 1)"])
def test_a_row_that_is_at_one_end_only_is_found(path, postgres_url, change):
    filled(empty(path))

    def spoil(step):
        if step.phase == "copy" and step.table == "steps":
            with psycopg.connect(postgres_url) as connection:
                connection.execute(change)

    with pytest.raises(Unequal, match="of steps is at one end only"):
        moved(path, postgres_url, tell=spoil)


def test_what_postgresql_cannot_keep_is_named(path, postgres_url):
    connection = apsw.Connection(str(filled(empty(path))))
    connection.execute("UPDATE tasks SET definition = ?", ("a\0b",))
    connection.close()
    with pytest.raises(StoreRefused, match="tasks has a value that PostgreSQL cannot store"):
        moved(path, postgres_url)


async def test_a_database_with_a_living_server_is_refused(path, postgres_store):
    harness = on_postgres(postgres_store)
    await harness.service.servers.join()
    stop = threading.Event()

    def beat():
        with psycopg.connect(postgres_store, autocommit=True) as side:
            while not stop.wait(0.05):
                side.execute("UPDATE servers SET beat = beat + 1")

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(StoreRefused, match="a server uses this database: stop it first"):
            moved(empty(path), postgres_store)
    finally:
        stop.set()
        beating.join()
    await harness.service.servers.leave()
    await harness.close()


async def test_a_server_that_is_gone_stands_in_nobodys_way(path, postgres_store):
    harness = on_postgres(postgres_store)
    await harness.service.servers.join()
    await harness.close()
    moved(empty(path), postgres_store, silent_s=0.5)
    with psycopg.connect(postgres_store) as connection:
        assert connection.execute("SELECT count(*) FROM servers").fetchone() == (0,)


async def test_a_server_that_comes_up_meanwhile_is_found(path, postgres_store):
    """It was open before the move began, and takes its place after: nothing it has done may be mixed in."""
    harness = on_postgres(postgres_store)
    filled(empty(path))
    with psycopg.connect(postgres_store, autocommit=True) as side:
        told = []

        def join(step):
            told.append(step)
            side.execute("INSERT INTO servers VALUES ('late', 1, 'h', 1, '0', 1, 1, 1) ON CONFLICT DO NOTHING")

        with pytest.raises(StoreRefused, match="a server has come up on this database meanwhile"):
            moved(path, postgres_store, tell=join)
        assert len(told) == 1, "the next part is not copied any more"
        side.execute("DELETE FROM servers")
    await harness.store.close()


def test_two_moves_into_one_database_take_turns(path, postgres_url, tmp_path):
    inside = []

    def another(step):
        if not inside:
            inside.append(step)
            with psycopg.connect(postgres_url) as connection:
                inside.append(
                    connection.execute("SELECT pg_try_advisory_lock(%s)", (0x6865_6164_7761_7932,)).fetchone()
                )

    moved(empty(path), postgres_url, tell=another)
    assert inside[1] == (False,)


def test_a_database_that_cannot_be_reached_changes_nothing(path):
    with pytest.raises(DatabaseGone, match="cannot be reached"):
        move(empty(path), "postgresql://ada:secret@127.0.0.1:1/x", SystemClock())


# -- after the move ------------------------------------------------------------------------------------------------------------


async def test_the_feed_goes_on_where_it_was(path, postgres_url):
    harness, _ = await busy(path)
    before = [event async for event in _feed(harness, 0)]
    await harness.close()
    moved(path, postgres_url)
    there = on_postgres(postgres_url)
    await there.service.servers.join()
    assert [event async for event in _feed(there, 0)] == before
    run = await there.start("t")
    middle = before[len(before) // 2].position
    after = [event async for event in _feed(there, middle)]
    assert after[:-1] == [event for event in before if event.position > middle]
    assert after[-1].run_id == run.id
    assert after[-1].position > before[-1].position
    await there.close()


async def test_the_feed_goes_on_after_positions_that_the_database_would_only_reach_later(path, postgres_url):
    harness, _ = await busy(path)
    await harness.close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE events SET position = position + (1 << 50)")
    connection.close()
    moved(path, postgres_url)
    there = on_postgres(postgres_url)
    await there.service.servers.join()
    last = await there.history.last_position()
    assert last > 1 << 50
    await there.start("t")
    assert await there.history.last_position() > last
    await there.close()


async def _feed(harness, after):
    while page := (await harness.store.read.feed(1, after, 5))[0]:
        for event in page:
            yield event
        after = page[-1].position


async def test_a_worker_that_was_at_it_finishes_on_the_new_server(path, postgres_url):
    harness = on_disk(path)
    worker = await harness.worker()
    run = await harness.start("t")
    lease = await harness.one(worker)
    await harness.close()
    moved(path, postgres_url)
    there = on_postgres(postgres_url)
    await there.service.leases.restore()
    await there.service.servers.join()
    assert await there.state(run.id) == State.RUNNING
    await there.succeed(worker, lease, 7)
    assert (await there.runs.get(run.id)).output == "7"
    await there.close()


async def test_the_run_of_a_worker_that_does_not_come_back_is_done_by_another(path, postgres_url):
    harness = on_disk(path)
    lost = await harness.worker()
    run = await harness.start("t")
    await harness.one(lost)
    await harness.close()
    moved(path, postgres_url)
    there = on_postgres(postgres_url)
    await there.service.leases.restore()
    await there.service.servers.join()
    other = await there.worker()
    await there.advance(there.settings.lease_ms + 1, other)
    await there.advance(60_000, other)
    await there.succeed(other, await there.one(other))
    assert await there.state(run.id) == State.SUCCEEDED
    await there.close()


async def test_the_doctor_of_the_file_and_of_the_database_count_the_same(path, postgres_url):
    from headway.serving import offline

    harness, _ = await busy(path)
    await harness.close()
    moved(path, postgres_url)
    here, there = offline.doctor(f"sqlite:///{path}"), offline.doctor(postgres_url, verify=True)
    counts = [next(check.message for check in checks if check.name == "runs") for checks in (here, there)]
    assert counts[0] == counts[1]
    assert [check for check in there if not check.ok] == []
