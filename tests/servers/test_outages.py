"""The database is not there yet, is killed, throws everyone out or moves to its standby; servers are killed and restarted.

Real processes, under load: what was acknowledged is there, what cannot be done now is put off, everything goes on alone.
"""

import random
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec
import psycopg
import pytest
from tests.faults.probe import Probe
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import Deployment, Server, WorkerProcess
from tests.faults.stores import MINUTES
from tests.faults.syscalls import failing_at, needs_strace
from tests.faults.users import Users
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_end, more_than, pause, until
from tests.postgres.cluster import Cluster
from tests.postgres.keeper import processes
from tests.postgres.standby import Pair
from tests.servers.outages import DRAIN_S, figures, served

import headway
from headway.client.errors import ConnectionLost

BACK_WITHIN_MS = 10_000
"""From the moment when the database is started again, or its standby made the primary, until a start is acknowledged."""


@pytest.fixture(scope="module")
def cluster(postgres_installation):
    """A server of PostgreSQL that these tests may kill, and leave running."""
    with Cluster(installation=postgres_installation) as found:
        yield found


@pytest.fixture
def two(tmp_path):
    """Make two places on one store."""
    with ExitStack() as ends:

        def on(url):
            made = Deployment(tmp_path, url), Deployment(tmp_path, url)
            for deployment in made:
                ends.callback(deployment.clean_up)
            return made

        yield on


@pytest.fixture
def one(tmp_path):
    """Make a place on a store."""
    with ExitStack() as ends:

        def on(url):
            deployment = Deployment(tmp_path, url)
            ends.callback(deployment.clean_up)
            return deployment

        yield on


# -- at the start --------------------------------------------------------------------------------------------------------


def status(server, path):
    try:
        return server.call("GET", path).status
    except ConnectionLost:
        return None


def test_a_server_that_comes_before_its_database_waits_and_serves_as_soon_as_it_is_there(cluster, one):
    deployment = one(cluster.url(cluster.create_database()))
    cluster.stop()
    server = Server(deployment).start(ready=False)
    until(lambda: status(server, "/livez") == 200, 20, "it is alive")
    asked = server.call("GET", "/readyz")
    assert (asked.status, asked.headers["retry-after"]) == (503, "1")
    refused = server.call("POST", "/v1/runs", {"task": "job"})
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert msgspec.json.decode(refused.body)["code"] == "storage_unavailable"
    pause(1)
    (said,) = deployment.logged().splitlines()
    assert "store.waiting " in said
    assert "cannot be reached: is it running" in said
    cluster.start()
    server.wait_until_ready()
    assert status(server, "/readyz") == 200
    ProtocolWorker(server)
    assert server.run(server.started("job"))["state"] == "queued"
    assert server.stop() == 0
    assert "Traceback" not in deployment.logged()


def test_a_server_that_waits_for_its_database_ends_at_once_when_it_is_told_to(cluster, one):
    deployment = one(cluster.url(cluster.create_database()))
    cluster.stop()
    server = Server(deployment).start(ready=False)
    until(lambda: status(server, "/livez") == 200, 20, "it is alive")
    began_s = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began_s < 2
    assert "Traceback" not in deployment.logged()
    cluster.start()


def test_a_server_whose_database_says_nothing_ends_when_it_is_told_to(one):
    """Its packets are swallowed, as by a firewall: here by one who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deployment = one(f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/headway?connect_timeout=2")
        server = Server(deployment).start(ready=False)
        until(lambda: status(server, "/livez") == 200, 20, "it is alive")
        assert server.stop(8) == 0
        assert "Traceback" not in deployment.logged()


def refused(deployment):
    """Return what a server says that does not start."""
    server = Server(deployment).start(ready=False)
    assert server.process.wait(20) == 1
    (line,) = deployment.logged().splitlines()
    return line


def test_a_server_that_is_not_let_in_says_why_and_does_not_wait(cluster, one):
    cluster.create_user("ann", "right")
    url = cluster.url(cluster.create_database(), user="ann", password="not-the-right-one")
    said = refused(one(url))
    assert "refuses the password of ann" in said
    assert "not-the-right-one" not in said


def test_a_server_that_has_waited_and_is_then_not_let_in_says_why_and_ends(cluster, one):
    cluster.create_user("eve", "right")
    url = cluster.url(cluster.create_database(), user="eve", password="not-the-right-one")
    cluster.stop()
    deployment = one(url)
    server = Server(deployment).start(ready=False)
    until(lambda: status(server, "/livez") == 200, 20, "it is alive")
    cluster.start()
    assert server.process.wait(30) == 1
    assert "refuses the password of eve" in deployment.logged().splitlines()[-1]
    assert "Traceback" not in deployment.logged()


def test_a_server_whose_database_does_not_exist_says_how_to_make_it(cluster, one):
    assert "createdb nowhere" in refused(one(cluster.url("nowhere")))


def test_a_server_that_is_older_than_its_store_says_so(cluster, one):
    name = cluster.create_database()
    deployment = one(cluster.url(name))
    server = Server(deployment).start()
    assert server.stop() == 0
    cluster.query("INSERT INTO migrations VALUES (999, 'of the future', 0)", database=name)
    deployment.log.unlink()
    assert "install a newer Headway" in refused(deployment)


# -- in the middle -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=MINUTES)])
def test_nothing_is_lost_and_all_goes_on_when_the_database_is_killed(cluster, two, kills):
    with served(two(cluster.url(cluster.create_database()))) as service:
        for _ in range(kills):
            pause(random.uniform(0.3, 1.2))
            cluster.kill()
            pause(random.uniform(0.5, 1.5))
            service.first.ledger.note("started")
            cluster.start()
            service.until_back()
        more_than(20 * kills, service.first)
    books = service.finish(outages=kills, fault="kill -9 of the database")
    assert service.load.later["storage_unavailable"] > 0
    figures("database killed, back ms after its start", service.back_ms("started"), service, books)
    assert max(service.back_ms("started")) <= BACK_WITHIN_MS


@pytest.mark.parametrize("times", [10, pytest.param(300, marks=MINUTES)])
def test_nothing_is_lost_when_all_connections_are_cut_again_and_again(cluster, two, times):
    name = cluster.create_database()
    cut = 0
    with served(two(cluster.url(name))) as service:
        for _ in range(times):
            pause(random.uniform(0.05, 0.6))
            cut += cluster.query(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", name
            )[0][0]
        service.until_back()
    books = service.finish(outages=times, fault="all connections to the database are cut")
    assert cut > 2 * times
    figures(f"{cut} connections cut, back after ms", service.back_ms("up"), service, books)


@needs_strace
@pytest.mark.parametrize("times", [2, pytest.param(30, marks=MINUTES)])
def test_nothing_is_lost_and_all_goes_on_when_a_sync_of_the_database_fails(cluster, two, tmp_path, times):
    """PostgreSQL gives itself up when its log cannot be synced, throws everyone out and starts again from what is there."""
    log = cluster.folder / "log"

    def failed():
        return log.read_text(errors="replace").count("PANIC:  could not fdatasync")

    before = failed()
    with served(two(cluster.url(cluster.create_database()))) as service:
        with failing_at(processes(cluster.data), tmp_path / "trace", 25):
            until(lambda: failed() >= before + times, 30 + 10 * times, "the database has given itself up")
        service.until_back()
        more_than(20 * times, service.first)
    books = service.finish(outages=failed() - before, fault="a sync of the database's log fails")
    assert service.load.later["storage_unavailable"] > 0
    figures("syncs of the database failed, back after ms", service.back_ms("up"), service, books)


def test_what_was_acknowledged_is_at_the_standby_when_the_primary_is_killed(postgres_installation, two):
    with Pair(installation=postgres_installation) as pair:
        name = pair.primary.create_database()
        with served(two(pair.url(name))) as service:
            pause(2)
            pair.kill_primary()
            service.first.ledger.note("killed")
            service.first.ledger.note("promoted")
            pair.promote()
            service.until_back()
            pause(1)
        books = service.finish(outages=1, fault="kill -9 of the primary, its standby is promoted")
        figures("primary killed, back after ms", service.back_ms("killed"), service, books)
        assert service.back_ms("promoted")[0] <= BACK_WITHIN_MS


# -- one server of two ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kills", [2, pytest.param(60, marks=MINUTES)])
def test_nothing_is_lost_and_all_goes_on_when_one_of_two_servers_is_killed(cluster, two, kills):
    deployments = two(cluster.url(cluster.create_database()))
    http = deployments[1].connect()

    def look():
        deployments[1].ledger.note("looked")  # as each acknowledgement is noted, on a disk that others may keep busy
        return http.request("GET", "/livez")

    with served(deployments) as service, Probe(look, 0.05) as other:
        for _ in range(kills):
            pause(random.uniform(0.3, 1.2))
            service.servers[0].kill()
            service.first.ledger.note("killed")
            service.until_back()
            service.servers[0].start()
        pause(0.5)
    books = service.finish(outages=kills, fault="kill -9 of one of two servers")
    figures("one server killed, back after ms", service.back_ms("killed"), service, books)
    assert max(service.back_ms("killed")) <= 1_000 + other.percentile(1), (
        "the other was there all the while, and the machine was not busy for so long"
    )


def get_on(users):
    before = users.done
    until(lambda: users.done > before + 20 or users.failures, 30, "the users get on")


def test_clients_that_know_both_servers_notice_nothing_when_both_are_restarted_in_turn(cluster, two):
    deployments = two(cluster.url(cluster.create_database()))
    servers = [Server(deployment, "--drain", f"{DRAIN_S}s").start() for deployment in deployments]
    for deployment, other in (deployments, deployments[::-1]):
        WorkerProcess(deployment, "--capacity", "20", others=[other])
    for server in servers:
        server.knows("effect")
    with Users(deployments[0], 4, deployments[1]) as users:
        for _ in range(2):
            for server in servers:
                get_on(users)
                assert server.stop(DRAIN_S + 5) == 0
                get_on(users)  # with the other alone
                server.start()
        pause(0.5)
    assert users.failures == []
    for server in servers:
        all_end(server)
        assert server.stop() == 0
    StoreContents(deployments[0]).hold(kills=0)


def test_a_start_that_a_server_cannot_finish_before_its_end_is_made_once_at_the_other(cluster, two):
    name = cluster.create_database()
    deployments = two(cluster.url(name))
    servers = [Server(deployment, "--drain", "1s").start() for deployment in deployments]
    ProtocolWorker(servers[0])
    with ThreadPoolExecutor(1) as pool, headway.Client([deployment.url for deployment in deployments]) as client:
        with psycopg.connect(cluster.url(name)) as slow:
            slow.execute("LOCK TABLE runs IN SHARE ROW EXCLUSIVE MODE")  # as a database that takes its time
            starting = pool.submit(client.runs.start, "job", idempotency_key="k")
            until(lambda: waits_for_a_lock(cluster, name), 10, "the first server has begun")
            servers[0].process.send(signal.SIGTERM)
            until(lambda: "server.cut_off requests=1" in deployments[0].logged(), 10, "it is at its end")
        run = starting.result(40)
        assert servers[0].process.wait(20) == 0
        assert [run.id] == [each["id"] for each in servers[1].get("/v1/runs")["data"]]
        assert client.runs.start("job", idempotency_key="k").id == run.id
    assert servers[1].stop() == 0
    assert "Traceback" not in deployments[0].logged()


def waits_for_a_lock(cluster, name):
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    return cluster.query(waiting, name)
