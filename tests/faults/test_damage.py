"""Bits that flip where nothing was written, and copies that are made in the middle of everything."""

import asyncio
import contextlib
import random
from collections import Counter

import apsw
import pytest
from tests.faults.full_disks import start_some
from tests.faults.load import Load
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import Deployment, Server
from tests.faults.stores import MINUTES
from tests.faults.verdict import StoreContents
from tests.faults.waiting import until
from tests.harness import on_disk
from tests.postgres.cluster import Cluster

from headway.client.errors import ConnectionLost
from headway.protocol import workers as wire
from headway.serving import offline


def flipped(whole, at, chance):
    """Return the bytes with one bit of one of them turned over."""
    found = bytearray(whole)
    found[at] ^= 1 << chance.randrange(8)
    return bytes(found)


def contents(path):
    """Return every row of every table, by table, read without an index, and what SQLite finds wrong itself."""
    connection = apsw.Connection(str(path))
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE lower(type) = 'table'")]
        rows = {
            name.lower(): sorted(connection.execute(f'SELECT * FROM "{name}" NOT INDEXED'), key=repr)
            for name in ("sqlite_schema", *tables)
        }
        return rows, connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()


def values_changed(before, after):
    """Return how many values are others; None if rows came or went."""
    if {name: len(rows) for name, rows in before.items()} != {name: len(rows) for name, rows in after.items()}:
        return None
    changed = 0
    for name, rows in before.items():
        gone, come = Counter(rows) - Counter(after[name]), Counter(after[name]) - Counter(rows)
        for was, now in zip(gone.elements(), come.elements(), strict=True):
            changed += sum(one != other for one, other in zip(was, now, strict=True))
    return changed


def stored(path, log=None):
    """Make a store of some runs in all states; with `log`, keep a copy of it in which nothing was written back yet."""

    async def make():
        harness = on_disk(path)
        worker = await harness.worker()
        ids = []
        for n in range(60):
            ids.append((await harness.start("t", {"n": n, "text": "x" * 50}, labels={"n": str(n)})).id)
            if n % 3:
                lease = await harness.one(worker)
                await harness.tell(worker, lease, wire.ResultReport, value=b"1")
                await harness.succeed(worker, lease, {"n": n})
        if log is not None:
            copied = path.read_bytes(), path.with_name(path.name + "-wal").read_bytes()
            log.write_bytes(copied[0])
            log.with_name(log.name + "-wal").write_bytes(copied[1])
        await harness.close()
        return ids

    return asyncio.run(make())


def looked_at(path):
    """Return what the doctor says is wrong with a store."""
    return [finding.message for finding in offline.doctor(f"sqlite:///{path}", verify=True) if not finding.ok]


@pytest.mark.parametrize("flips", [150, pytest.param(2_000, marks=MINUTES)])
def test_a_bit_that_flips_is_found_or_is_one_value_and_nothing_else(tmp_path, flips):
    """The file has no checksums: what only one value says, nothing can hold against anything. All else is found."""
    stored(tmp_path / "store.db")
    whole = (tmp_path / "store.db").read_bytes()
    before, _ = contents(tmp_path / "store.db")
    chance = random.Random(29)
    seen = Counter()
    for n in range(flips):
        path = tmp_path / "damaged.db"
        at = chance.randrange(len(whole))
        path.write_bytes(flipped(whole, at, chance))
        path.chmod(0o600)
        if looked_at(path):
            seen["found"] += 1
            continue
        after, integrity = contents(path)
        changed = values_changed(before, after)
        assert changed in {0, 1}, f"flip {n}, at {at}: the doctor sees nothing, and {changed} values are others"
        assert integrity == [("ok",)], f"flip {n}, at {at}"
        seen["one value" if changed else "harmless"] += 1
    print(dict(seen))
    assert seen["found"] > flips / 20


def test_a_text_that_is_none_any_more_is_found(tmp_path):
    """SQLite takes any bytes for text; who reads it would fail for want of UTF-8."""
    path = tmp_path / "store.db"
    stored(path)
    whole = path.read_bytes()
    at = whole.rindex(b"xxxxxxxxxx")
    path.write_bytes(whole[:at] + b"\xf8" + whole[at + 1 :])
    assert any("cannot be read" in message for message in looked_at(path))


@pytest.mark.parametrize("flips", [30, pytest.param(500, marks=MINUTES)])
def test_a_bit_that_flips_in_the_log_leaves_what_was_before_it(tmp_path, flips):
    """The log has checksums: from a damaged commit on it is not there. What is left is sound, and nothing of it is other."""
    ids = stored(tmp_path / "store.db", tmp_path / "open.db")
    whole, log = (tmp_path / "open.db").read_bytes(), (tmp_path / "open.db-wal").read_bytes()
    chance = random.Random(29)
    kept = set()
    for n in range(flips):
        path = tmp_path / f"{n}.db"
        at = chance.randrange(len(log))
        path.write_bytes(whole)
        path.chmod(0o600)
        path.with_name(path.name + "-wal").write_bytes(flipped(log, at, chance))
        try:
            found, integrity = contents(path)
        except apsw.Error:
            assert looked_at(path)
            continue
        there = {row[0] for row in found.get("runs", ())}
        assert integrity == [("ok",)]
        assert there == set(ids[: len(there)]), f"flip {n}, at {at}: a run is gone, and a later one is there"
        assert not there or looked_at(path) == []
        kept.add(len(there))
    assert len(kept) > 5, "no flip had an effect"


def test_a_backup_under_load_has_all_that_was_acknowledged_before_it_and_can_be_served(deployment, tmp_path):
    server = Server(deployment).start()
    ProtocolWorker(server)
    copies = []
    with Load(deployment, tasks=["job"], rate=300, submitters=8) as load:
        for n in range(4):
            until(lambda n=n: len(deployment.ledger.lines("acknowledged")) > 150 * (n + 1), 20, "runs are acknowledged")
            before = {line["run_id"] for line in deployment.ledger.lines("acknowledged")}
            offline.backup(deployment.store_url, str(tmp_path / f"copy{n}"))
            copies.append((before, tmp_path / f"copy{n}"))
    assert load.odd == []
    assert server.stop() == 0
    for n, (before, copy) in enumerate(copies):
        (tmp_path / f"{n}").mkdir()
        other = Deployment(tmp_path / f"{n}", tmp_path / f"{n}" / "restored.db")
        try:
            offline.restore(str(copy), other.store_url)
            there = StoreContents(other).runs
            assert before <= there.keys(), f"{len(before - there.keys())} that were acknowledged are not in the copy"
            assert looked_at(other.store) == []
            if n == len(copies) - 1:
                again = Server(other).start()
                assert sum(again.counts().values()) == len(there)
                assert again.stop() == 0
        finally:
            other.clean_up()


def test_a_page_of_a_database_that_is_damaged_is_found_and_never_served_as_something_else(
    postgres_installation, tmp_path
):
    """PostgreSQL has checksums, if it is told to: what cannot be read is no answer, and no run is acknowledged into it."""
    with Cluster({"autovacuum": "off"}, postgres_installation) as cluster:
        database = cluster.create_database()
        deployment = Deployment(tmp_path, cluster.url(database))
        try:
            server = Server(deployment).start()
            ProtocolWorker(server)
            ids = start_some(deployment, 0)
            assert server.stop() == 0
            ((name,),) = cluster.query("SELECT pg_relation_filepath('runs')", database=database)
            cluster.stop()
            pages = bytearray((cluster.data / name).read_bytes())
            for page in range(0, len(pages), 8_192):
                pages[page + 8_000] ^= 1
            (cluster.data / name).write_bytes(pages)
            cluster.start()
            wrong = [finding.message for finding in offline.doctor(deployment.store_url, verify=True) if not finding.ok]
            assert any("invalid page" in message for message in wrong), wrong
            served(deployment, ids)
        finally:
            deployment.clean_up()


def served(deployment, ids):
    """Serve a store whose runs cannot be read: either it ends and says why, or it tells nothing and takes nothing."""
    server = Server(deployment).start(ready=False)
    until(lambda: not server.process.alive or answers(server), 20, "it is up, or has given up")
    if not server.process.alive:
        assert "invalid page" in deployment.logged()
        return
    for run_id in ids:
        assert server.call("GET", f"/v1/runs/{run_id}").status >= 500
    assert server.call("POST", "/v1/runs", {"task": "job"}).status >= 500


def answers(server):
    with contextlib.suppress(ConnectionLost):
        return server.call("GET", "/livez").status == 200
