"""A database that confirms what it may lose is refused in one sentence, unless told that this is fine; the doctor says so too."""

import re

import pytest
from tests.faults.waiting import until
from tests.harness import START
from tests.postgres.cluster import Cluster

from headway.clock import ManualClock, SystemClock
from headway.store.database import StoreRefused
from headway.store.postgres.checkup import checkup
from headway.store.postgres.open import prepare

SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": ""}
LOSING = [
    {"fsync": "off"},
    {"full_page_writes": "off"},
    {"synchronous_commit": "off"},
    {"synchronous_commit": "local", "synchronous_standby_names": "other"},
]


@pytest.fixture(scope="module")
def cluster(postgres_installation):
    """A server of PostgreSQL whose settings these tests may change."""
    with Cluster(installation=postgres_installation) as started:
        yield started


def set_to(cluster, settings):
    """Return the URL of a new database on a server that has these settings."""
    wanted = {**SAFE, **settings}
    cluster.configure(**wanted)
    asked = ", ".join(f"current_setting('{name}')" for name in wanted)
    until(lambda: cluster.query(f"SELECT {asked}") == [tuple(wanted.values())], 10, f"{wanted} are in force")
    return cluster.url(cluster.create_database())


def durability(url):
    return next((ok, said) for name, ok, said in checkup(url, SystemClock(), verify=False) if name == "durability")


@pytest.mark.parametrize("settings", LOSING, ids=str)
def test_a_database_that_may_lose_what_it_confirms_is_refused_unless_that_is_accepted(cluster, settings):
    url = set_to(cluster, settings)
    name, value = next(iter(settings.items()))
    said = f"{name} = {value}"
    with pytest.raises(StoreRefused, match=f"runs with {re.escape(said)}, so what was acknowledged can be lost"):
        prepare(url, ManualClock(START))
    prepare(url, ManualClock(START), accept_loss=True)
    assert durability(url) == (False, f"{said}: what was acknowledged can be lost; set it to on")


def test_where_there_is_no_standby_to_wait_for_local_commits_are_as_good_as_others(cluster):
    url = set_to(cluster, {"synchronous_commit": "local"})
    prepare(url, ManualClock(START))
    assert durability(url) == (True, "a commit that is acknowledged is on disk")
