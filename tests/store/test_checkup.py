"""The doctor sees what is wrong with a database, says what to do, and takes nothing healthy for ill."""

import contextlib
import os
import shutil

import psycopg
import pytest
from tests.harness import START, declare, on_disk, on_postgres
from tests.postgres.cluster import Cluster

from headway.clock import ManualClock, SystemClock
from headway.store.postgres import checkup
from headway.store.postgres.open import prepare
from headway.store.sqlite import checkup as of_sqlite


def looked(url, clock=None, *, verify=False):
    return {name: (ok, said) for name, ok, said in checkup.checkup(url, clock or SystemClock(), verify=verify)}


def wrong(url, clock=None, **how):
    return {name: said for name, (ok, said) in looked(url, clock, **how).items() if not ok}


@contextlib.contextmanager
def beside(url):
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


async def test_a_healthy_store_has_nothing_wrong(postgres_store):
    harness = on_postgres(postgres_store)
    await harness.service.servers.join()
    worker = await harness.worker()
    await harness.finished(worker)
    await harness.start("t")
    found = looked(postgres_store, verify=True)
    await harness.close()
    assert [name for name, (ok, _) in found.items() if not ok] == []
    assert list(found) == [
        "postgresql", "encoding", "durability", "standby", "transactions", "connections", "clocks", "schema", "runs",
        "servers", "dead rows", "verify",
    ]  # fmt: skip
    assert found["runs"][1] == "1 queued, 1 succeeded"


def test_a_database_without_a_store_says_so(postgres_url):
    assert wrong(postgres_url) == {"schema": "there is no store in this database; `headway serve` makes one"}


def test_a_store_of_a_newer_headway_is_left_alone(postgres_store):
    with beside(postgres_store) as side:
        side.execute("INSERT INTO migrations VALUES (9999, 'later', 1)")
    assert wrong(postgres_store) == {"schema": "it was written by a newer Headway (migration 9999); install that"}


def test_a_store_that_is_half_there_is_found(postgres_store):
    with beside(postgres_store) as side:
        side.execute("INSERT INTO store VALUES ('moving', '{}')")
    assert "`headway migrate-store` goes on" in wrong(postgres_store)["store"]


def test_rows_that_disagree_are_found(postgres_store):
    with beside(postgres_store) as side:
        side.execute("INSERT INTO steps VALUES ('gone', 's', '1', 1)")
    assert wrong(postgres_store) == {}
    assert wrong(postgres_store, verify=True) == {"verify": "gone: a step of it is left, but it is not there"}


@pytest.mark.parametrize("loss", ["deleted", "cut", "none"])
async def test_a_copy_that_a_server_has_rescued_is_named_as_the_way_back(tmp_path, monkeypatch, loss):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    path = tmp_path / "headway.db"
    harness = on_disk(path)
    await harness.worker()
    await harness.start("t")
    await harness.close()
    copies = [tmp_path / "headway.db.rescued-20261130T112500Z", tmp_path / "tmp/headway.db.rescued-20261130T112501Z"]
    for copy in copies:
        shutil.copy(path, copy)
    (tmp_path / "other.db.rescued-20261130T112500Z").touch()
    (tmp_path / "tmp/headway.db.rescued-20261130T112502Z").symlink_to(path)  # not made by a server
    if os.geteuid() == 0:
        others = tmp_path / "tmp/headway.db.rescued-20261130T112503Z"
        others.touch()
        os.chown(others, 12345, 12345)
    if loss == "deleted":
        path.unlink()
    elif loss == "cut":
        path.write_bytes(path.read_bytes()[:5_000])
    found = [(ok, said) for name, ok, said in of_sqlite.checkup(path, verify=False) if name == "rescued"]
    assert [ok for ok, _ in found] == [loss == "none"] * 2
    assert [str(copy) in said for copy, (_, said) in zip(reversed(copies), found, strict=True)] == [True, True]
    if loss != "none":
        assert f"headway restore {copies[1]} --store sqlite:///{path}" in found[0][1]


def test_servers_are_told_apart_by_when_they_were_heard(postgres_store):
    with beside(postgres_store) as side:
        for number, heard_at in (("a", START), ("b", START - 60_000)):
            side.execute("INSERT INTO servers VALUES (%s, 1, %s, 7, '0', 1, 1, %s)", (number, number, heard_at))
    ok, said = looked(postgres_store, ManualClock(START))["servers"]
    assert (ok, said) == (True, "1 alive: a:7; 1 silent, whose place the next server clears")


def test_a_transaction_that_is_open_for_long_is_named_with_what_ends_it(postgres_store, monkeypatch):
    monkeypatch.setattr(checkup, "LONG_S", 0)
    with beside(postgres_store) as side:
        assert "transactions" not in wrong(postgres_store)
        side.execute("BEGIN")
        said = wrong(postgres_store)["transactions"]
        assert said.endswith(f"SELECT pg_terminate_backend({side.info.backend_pid})")


def test_dead_rows_that_are_not_cleaned_are_found(postgres_store, monkeypatch):
    monkeypatch.setattr(checkup, "DEAD_LEAST", 20)
    with beside(postgres_store) as side:
        side.execute("ALTER TABLE counters SET (autovacuum_enabled = false)")
        side.execute("INSERT INTO counters VALUES ('t', 'q', 'queued', 0, 0)")
        for _ in range(30):
            side.execute("UPDATE counters SET count = count + 1")
        side.execute("SELECT pg_stat_force_next_flush()")
        assert "VACUUM counters" in wrong(postgres_store)["dead rows"]
        side.execute("VACUUM counters")
        assert "dead rows" not in wrong(postgres_store)


@pytest.mark.parametrize("apart_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_is_wrong_is_found(postgres_store, apart_ms):
    clock = ManualClock(SystemClock().now_ms() + apart_ms)
    assert "s apart: look at NTP on both" in wrong(postgres_store, clock)["clocks"]


def test_a_database_that_loses_or_holds_back_or_is_crowded_is_found(postgres_installation):
    settings = {
        "fsync": "off", "synchronous_commit": "off", "wal_level": "logical", "max_prepared_transactions": 2,
        "max_connections": 12, "superuser_reserved_connections": 2, "synchronous_standby_names": "other",
    }  # fmt: skip
    with Cluster(settings, postgres_installation) as cluster:
        url = cluster.url(cluster.create_database())
        prepare(url, ManualClock(START), accept_loss=True)
        found = looked(url)
        assert found["durability"] == (
            False,
            "fsync = off and synchronous_commit = off: what was acknowledged can be lost; set it to on",
        )
        assert found["standby"][1].startswith("commits wait for a synchronous standby; 0 connected")
        assert found["transactions"][0]
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(beside(url))
            assert "raise max_connections" in wrong(url)["connections"]
        with beside(url) as side:
            side.execute("SELECT pg_create_logical_replication_slot('left', 'pgoutput')")
            assert "replication slot left is not in use" in wrong(url)["transactions"]
            side.execute("BEGIN")
            side.execute("INSERT INTO steps VALUES ('r', 's', '1', 1)")
            side.execute("PREPARE TRANSACTION 'forgotten'")
            assert "forgotten" not in wrong(url)["transactions"]
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(checkup, "LONG_S", 0)
                assert "ROLLBACK PREPARED 'forgotten'" in wrong(url)["transactions"]


# -- a file --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("FILE_LARGE", 1, "a backup or a check takes long"),
        ("WAL_LARGE", 0, "does not get time to be written back"),
        ("PACE_HIGH", 0.0005, "runs end in a second"),
    ],
)
async def test_a_file_that_has_become_too_small_a_place_says_so_and_is_not_ill(
    tmp_path, monkeypatch, limit, value, why
):
    harness = on_disk(tmp_path / "headway.db")
    worker = await harness.worker(declare())
    await harness.finished(worker)
    await harness.finished(worker)
    await harness.close()

    def room():
        return next(check for check in of_sqlite.checkup(tmp_path / "headway.db", verify=False) if check[0] == "room")

    assert room()[2].startswith("one file is enough")
    monkeypatch.setattr(of_sqlite, limit, value)
    _, ok, said = room()
    assert ok
    assert said.startswith("it is time to think of PostgreSQL")
    assert why in said
