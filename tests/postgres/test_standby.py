"""Of a pair nothing is lost that was confirmed, whichever of the two is killed."""

import threading

import psycopg
import pytest
from tests.faults.waiting import until
from tests.postgres.keeper import processes
from tests.postgres.standby import STANDBYS, Pair


@pytest.fixture
def pair(postgres_installation):
    with Pair(installation=postgres_installation) as started:
        yield started


class Writer(threading.Thread):
    """Commits numbers, each once, until its connection breaks; `confirmed` are those that were answered."""

    def __init__(self, url, first=1):
        super().__init__()
        self.url, self.next, self.confirmed = url, first, []
        self.start()

    def run(self):
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                while True:
                    connection.execute("INSERT INTO note VALUES (%s)", [self.next])
                    self.confirmed.append(self.next)
                    self.next += 1
        except psycopg.OperationalError:
            return


def notes(cluster):
    return {number for (number,) in cluster.query("SELECT number FROM note")}


def held(cluster):
    """Return whether a commit waits for a standby."""
    return cluster.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")


def test_a_pair_loses_nothing_confirmed_when_its_primary_is_killed_time_and_again(pair):
    pair.primary.query("CREATE TABLE note (number int PRIMARY KEY)")
    confirmed, first = set(), 1
    for _ in range(3):
        writer = Writer(pair.url(), first)
        until(lambda writer=writer: len(writer.confirmed) >= 100, 30, "a hundred commits are confirmed")
        killed = pair.primary
        pair.kill_primary()
        writer.join()
        assert pair.promote() is not killed
        confirmed, first = confirmed | set(writer.confirmed), writer.next + 1
        assert confirmed <= notes(pair.primary)
        pair.rejoin()
        assert pair.standby is killed
    assert confirmed <= notes(pair.standby)


def test_a_commit_is_not_confirmed_before_the_standby_has_it(pair):
    pair.primary.query("CREATE TABLE note (number int)")
    pair.standby.kill()
    writer = Writer(pair.url())
    until(lambda: held(pair.primary), 10, "the commit waits")
    assert writer.confirmed == []
    pair.standby.start()
    until(lambda: len(writer.confirmed) > 10, 20, "commits go on")
    pair.kill_primary()
    writer.join()


def test_without_a_synchronous_standby_what_was_confirmed_is_lost(pair):
    """The bug that the tests above must see is in the server's settings only."""
    pair.primary.query("CREATE TABLE note (number int)")
    pair.primary.configure(**{STANDBYS: ""})
    until(lambda: pair.primary.query(f"SHOW {STANDBYS}") == [("",)], 10, "commits are not held any more")
    pair.standby.kill()
    pair.primary.query("INSERT INTO note VALUES (1)")
    pair.kill_primary()
    pair.standby.start()
    assert notes(pair.promote()) == set()


def test_the_url_of_a_pair_leads_to_its_primary(pair):
    def reached():
        with psycopg.connect(pair.url()) as connection:
            return connection.info.port, connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]

    assert reached() == (pair.primary.port, False)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        pair.standby.query("CREATE TABLE note (number int)")
    pair.kill_primary()
    with pytest.raises(psycopg.OperationalError):
        reached()
    pair.promote()
    assert reached() == (pair.primary.port, False)


def test_nothing_is_left_of_a_pair(postgres_installation):
    with Pair(installation=postgres_installation) as pair:
        pair.kill_primary()
        folders = [pair.primary.folder, pair.standby.folder]
    assert [pid for folder in folders for pid in processes(folder)] == []
    assert not any(folder.exists() for folder in folders)
