"""The server that tests are given is a real one: durable, killed as a crash kills, and gone without a trace."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from tests.faults.server import ROOT, ended
from tests.faults.waiting import until
from tests.postgres.cluster import Cluster, Failed
from tests.postgres.folders import MEMORY
from tests.postgres.installation import NAMED, Account, PostgresUnavailable, find, installations
from tests.postgres.keeper import processes, segments


@pytest.fixture
def cluster(postgres_installation):
    with Cluster(installation=postgres_installation) as started:
        yield started


def notes(cluster):
    return [number for (number,) in cluster.query("SELECT number FROM note ORDER BY number")]


def exist(ids):
    """Return whether any of these System V segments is there."""
    return not {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()}.isdisjoint(
        map(str, ids)
    )


def owners(folder):
    """Return who the server's processes belong to; its helpers come and go, also while they are looked at."""
    found = set()
    for pid in processes(folder):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.add(Path(f"/proc/{pid}").stat().st_uid)
    return found


def test_every_postgresql_that_is_found_comes_up_by_itself_as_root_too(postgres_installation):
    assert postgres_installation in list(installations())
    for found in installations():
        with Cluster(installation=found) as cluster:
            ((version, encoding),) = cluster.query("SELECT version(), current_setting('server_encoding')")
            assert version.startswith(f"PostgreSQL {found.major}.")
            assert encoding == "UTF8"
            assert owners(cluster.folder) == {Account.for_servers().uid}
            assert cluster.folder.stat().st_mode & 0o777 == 0o700


def test_the_wheel_that_tools_setup_installs_is_found(monkeypatch):
    monkeypatch.delenv(NAMED, raising=False)
    assert [found.major >= 15 for found in installations() if found.parts]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as someone else")
def test_an_installation_below_a_home_of_roots_is_copied_to_where_the_server_can_read_it(monkeypatch, tmp_path):
    monkeypatch.delenv(NAMED, raising=False)
    found = next(found for found in installations() if found.parts)
    hidden, above = tmp_path / "hidden", Path(os.path.commonpath(found.parts))
    for part in found.parts:
        shutil.copytree(part, hidden / part.relative_to(above))
    hidden.chmod(0o700)
    there = found._replace(
        programs=hidden / found.programs.relative_to(above),
        parts=tuple(hidden / p.relative_to(above) for p in found.parts),
    )
    with Cluster(installation=there) as cluster:
        assert cluster.query("SELECT 1") == [(1,)]
    with pytest.raises(PostgresUnavailable, match="cannot execute it"), Cluster(installation=there._replace(parts=())):
        pass


def test_files_lie_on_disk_for_who_measures(postgres_installation):
    with Cluster(installation=postgres_installation, on_disk=True) as cluster:
        assert not cluster.folder.is_relative_to(MEMORY)
        assert cluster.query("SELECT 1") == [(1,)]


def test_a_named_installation_that_is_none_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv(NAMED, str(tmp_path))
    with pytest.raises(PostgresUnavailable, match=NAMED):
        find()


def test_both_ways_lead_to_the_same_server(postgres_cluster):
    for local in (False, True):
        with psycopg.connect(postgres_cluster.url(local=local)) as connection:
            (address,) = connection.execute("SELECT inet_server_addr()::text").fetchone()
            assert address == (None if local else "127.0.0.1/32")


def test_a_test_has_a_database_of_its_own(postgres_cluster, postgres_url):
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE mine (a int)")
    other = postgres_cluster.create_database()
    assert postgres_cluster.query("SELECT count(*) FROM pg_tables WHERE tablename = 'mine'", database=other) == [(0,)]
    postgres_cluster.drop_database(other)


def test_a_database_is_made_like_its_template_and_dropped_with_everybody_in_it(postgres_cluster):
    template = postgres_cluster.create_database()
    postgres_cluster.query("CREATE TABLE thing (a int)", database=template)
    name = postgres_cluster.create_database(template=template)
    with psycopg.connect(postgres_cluster.url(name)) as inside:
        assert inside.execute("SELECT count(*) FROM thing").fetchone() == (0,)
        for dropped in (name, template):
            postgres_cluster.drop_database(dropped)
        with pytest.raises(psycopg.OperationalError):
            inside.execute("SELECT 1")
    assert postgres_cluster.query("SELECT datname FROM pg_database WHERE datname = ANY(%s)", [name, template]) == []


def test_a_guarded_user_is_asked_for_the_password(cluster):
    cluster.create_user("ann", "a 'secret' / with %")
    for local in (False, True):
        with psycopg.connect(cluster.url(user="ann", password="a 'secret' / with %", local=local)) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("ann",)
        for wrong in ("another", None):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(cluster.url(user="ann", password=wrong, local=local))


def test_what_was_committed_survives_a_crash(cluster):
    durable = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on"}
    assert durable == dict(cluster.query("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", list(durable)))
    cluster.query("CREATE TABLE note (number int)")
    with psycopg.connect(cluster.url()) as connection:
        for number in range(100):
            connection.execute("INSERT INTO note VALUES (%s)", [number])
            connection.commit()
        connection.execute("INSERT INTO note VALUES (1000)")  # not committed
        cluster.kill()
        assert not cluster.running
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    assert processes(cluster.folder) == []
    cluster.start()
    assert notes(cluster) == list(range(100))
    assert "database system was not properly shut down" in cluster.logged()


@pytest.mark.parametrize(("end", "kept"), [(Cluster.kill, []), (Cluster.stop, [1])], ids=["kill", "stop"])
def test_a_kill_saves_nothing_that_had_not_to_be_saved(postgres_installation, end, kept):
    lax = {"synchronous_commit": "off", "wal_writer_delay": "10s"}
    with Cluster(lax, postgres_installation) as cluster:
        cluster.query("SET synchronous_commit = on; CREATE TABLE note (number int)")
        cluster.query("INSERT INTO note VALUES (1)")
        end(cluster)
        cluster.start()
        assert notes(cluster) == kept


def test_settings_are_changed_on_the_way(cluster):
    cluster.configure(work_mem="5MB", log_line_prefix="it's %p ")
    until(lambda: cluster.query("SHOW work_mem") == [("5MB",)], 10, "the setting is in force")
    cluster.restart()
    assert cluster.query("SHOW log_line_prefix") == [("it's %p ",)]


def test_a_start_that_fails_says_what_the_server_said(cluster):
    cluster.stop("immediate")
    cluster.configure(shared_buffers="much")
    with pytest.raises(Failed, match='"shared_buffers": "much"'):
        cluster.start()


def test_a_port_that_is_taken_meanwhile_is_given_up_before_it_was_known_only(postgres_installation):
    class Late(Cluster):
        def fill(self):
            super().fill()
            self.other = socket.create_server(("127.0.0.1", self.port))

    with Late(installation=postgres_installation) as cluster, cluster.other:
        assert cluster.port != cluster.other.getsockname()[1]
        cluster.stop()
        with (
            socket.create_server(("127.0.0.1", cluster.port)),
            pytest.raises(Failed, match=f"taken port {cluster.port}"),
        ):
            cluster.start()


def test_nothing_is_left_of_a_cluster(postgres_installation):
    with Cluster(installation=postgres_installation) as cluster:
        folder, memory = cluster.folder, segments(cluster.folder)
        assert len(processes(folder)) > 3
        assert exist(memory)
    assert processes(folder) == []
    assert not folder.exists()
    assert not exist(memory)


PROGRAM = """
import os, signal, sys
from tests.postgres.cluster import Cluster
cluster = Cluster().start()
print(cluster.folder, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_of_the_cluster_of_a_test_process_that_was_killed():
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    with process:
        folder = Path(process.stdout.readline().decode().strip())
        servers, memory = processes(folder), segments(folder)
        assert len(servers) > 3
        process.send_signal(signal.SIGKILL)
    assert all(ended(pid, 10) for pid in servers)
    until(lambda: not folder.exists(), 10, "the folder is removed")
    assert not exist(memory)
