"""The database is three servers under Patroni: its primary is lost, moved, or told nothing any more, and nobody does anything.

Real processes, under load, as in `test_outages`: what was acknowledged is there, and all goes on alone.
"""

from contextlib import ExitStack
from itertools import pairwise

import pytest
from tests.faults.server import Deployment
from tests.faults.waiting import pause, until
from tests.postgres.patroni import TIMES
from tests.servers.outages import figures, served

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

TIMES_EACH = 3
DEPOSED_WITHIN_MS = (TIMES["ttl"] + TIMES["loop_wait"]) * 1_000
"""From the death of the primary until another holds the lock."""
BACK_WITHIN_MS = 10_000
"""From then on, until the servers are connected to it and a commit has reached a new standby."""
SILENT_S = 0.5
"""How long nothing reaches the standbys any more, before the primary dies: what is acknowledged meanwhile would be lost."""


@pytest.fixture
def deployments(tmp_path, patroni):
    """Two places on one new database, by a URL that names all members."""
    with ExitStack() as ends:
        url = patroni.url(patroni.create_database())
        made = Deployment(tmp_path, url), Deployment(tmp_path, url)
        for deployment in made:
            ends.callback(deployment.clean_up)
        yield made


def silences_ms(service, since):
    """Return the longest time without an acknowledged start, after each such line of the ledger and before the next."""
    noted = [line["at"] for line in service.first.ledger.lines(since)]
    acknowledged = sorted(line["at"] for line in service.first.ledger.lines("acknowledged"))
    ends = [*noted[1:], acknowledged[-1] + 1]
    return [
        max(after - before for before, after in pairwise([began, *(at for at in acknowledged if began < at < ended)]))
        for began, ended in zip(noted, ends, strict=True)
    ]  # fmt: skip


def test_what_was_acknowledged_is_there_when_patroni_has_replaced_a_primary_that_was_killed(patroni, deployments):
    with served(deployments) as service:
        for _ in range(TIMES_EACH):
            pause(2)
            killed = patroni.primary
            killed.stop_sending()
            pause(SILENT_S)
            killed.kill()
            service.first.ledger.note("killed")
            service.until_back()
            assert patroni.primary is not killed
            killed.start()
            patroni.wait_until_whole()
            assert killed.is_a("replica")
        pause(2)
    books = service.finish(outages=TIMES_EACH, fault="kill -9 of the primary, Patroni promotes its standby")
    silent_ms = silences_ms(service, "killed")
    figures("primary killed, nothing acknowledged for ms", silent_ms, service, books)
    assert max(silent_ms) <= DEPOSED_WITHIN_MS + BACK_WITHIN_MS


def test_a_primary_whose_server_is_killed_is_started_again_by_patroni(patroni, deployments):
    with served(deployments) as service:
        for _ in range(TIMES_EACH):
            pause(2)
            patroni.primary.kill_server()
            service.first.ledger.note("killed")
            service.until_back()
            patroni.wait_until_whole()
        pause(2)
    books = service.finish(outages=TIMES_EACH, fault="kill -9 of the primary's PostgreSQL alone, under Patroni")
    silent_ms = silences_ms(service, "killed")
    figures("server of the primary killed, nothing acknowledged for ms", silent_ms, service, books)
    assert max(silent_ms) <= DEPOSED_WITHIN_MS + BACK_WITHIN_MS


def test_a_primary_whose_patroni_is_killed_confirms_nothing_once_another_is_promoted(patroni, deployments):
    """Two servers take writes then. The old one's standbys have left it, and without them it confirms none."""
    with served(deployments) as service:
        pause(2)
        old = patroni.primary
        old.kill_patroni()
        service.first.ledger.note("alone")
        assert patroni.primary is not old
        service.first.ledger.note("promoted")
        assert old.takes_writes()
        pause(2)
        old.start()
        service.first.ledger.note("started")
        service.until_back()
        patroni.wait_until_whole()
        assert old.is_a("replica")
        pause(1)
    books = service.finish(outages=1, fault="kill -9 of the primary's Patroni alone")
    silent_ms = silences_ms(service, "started")
    figures("the old primary's Patroni there again, nothing acknowledged for ms", silent_ms, service, books)
    assert max(silent_ms) <= BACK_WITHIN_MS


def test_nothing_is_lost_when_the_primary_is_moved_as_planned(patroni, deployments):
    with served(deployments) as service:
        for _ in range(TIMES_EACH):
            pause(2)
            service.first.ledger.note("asked to move")
            before = patroni.switch_over()
            service.until_back()
            patroni.wait_until_whole()
            assert before.is_a("replica")
        pause(2)
    books = service.finish(outages=TIMES_EACH, fault="the primary is moved by Patroni's switchover")
    silent_ms = silences_ms(service, "asked to move")
    figures("primary moved, nothing acknowledged for ms", silent_ms, service, books)
    assert max(silent_ms) <= BACK_WITHIN_MS


def test_commits_go_on_when_the_synchronous_standby_is_killed(patroni, deployments):
    with served(deployments) as service:
        pause(2)
        killed = patroni.synchronous
        killed.kill()
        service.first.ledger.note("killed")
        service.until_back()
        assert patroni.synchronous is not killed
        killed.start()
        patroni.wait_until_whole()
        pause(1)
    books = service.finish(outages=1, fault="kill -9 of the synchronous standby, Patroni takes another")
    silent_ms = silences_ms(service, "killed")
    figures("synchronous standby killed, nothing acknowledged for ms", silent_ms, service, books)
    assert max(silent_ms) <= BACK_WITHIN_MS


def test_a_primary_that_cannot_reach_etcd_steps_back_and_all_goes_on_when_it_is_there_again(patroni, deployments):
    with served(deployments) as service:
        pause(2)
        primary = patroni.primary
        patroni.etcd.kill()
        service.first.ledger.note("etcd killed")
        until(lambda: not primary.takes_writes(), TIMES["ttl"], "the primary has stepped back before its time is over")
        service.first.ledger.note("stepped back")
        acknowledged, refused = len(service.first.ledger.lines("acknowledged")), service.load.later.total()
        pause(TIMES["ttl"] + TIMES["loop_wait"])
        assert [member.name for member in patroni.members if member.takes_writes()] == []
        assert len(service.first.ledger.lines("acknowledged")) == acknowledged
        assert service.load.later.total() > refused
        answer = service.servers[0].call("GET", "/readyz")
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
        patroni.etcd.start()
        service.first.ledger.note("etcd there")
        service.until_back()
        patroni.wait_until_whole()
        pause(1)
    books = service.finish(outages=1, fault="etcd is lost for longer than the primary's lock holds")
    silent_ms = silences_ms(service, "etcd there")
    figures("etcd there again, nothing acknowledged for ms", silent_ms, service, books)
    (lost,), (back,) = (service.first.ledger.lines(what) for what in ("etcd killed", "stepped back"))
    print(f"stepped back after {back['at'] - lost['at']} ms")
    assert max(silent_ms) <= DEPOSED_WITHIN_MS + BACK_WITHIN_MS
