"""PostgreSQL for tests, for the folders whose conftest takes these fixtures in."""

import os
from collections.abc import Iterator

import pytest
from tests.postgres.cluster import Cluster
from tests.postgres.installation import Account, Installation, PostgresUnavailable, find
from tests.postgres.patroni import Patroni, missing

_SHARED = pytest.StashKey[Cluster]()


@pytest.fixture(scope="session")
def postgres_installation() -> Installation:
    """PostgreSQL's programs. Without them tests are skipped, but fail in continuous integration."""
    try:
        return find()
    except PostgresUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_cluster(pytestconfig: pytest.Config, postgres_installation: Installation) -> Cluster:
    """A server for all tests of this process, who must leave it running as it is; `Cluster` makes one to be killed."""
    # A session fixture is made anew for each conftest that takes it in; this one server is for all of them.
    if _SHARED not in pytestconfig.stash:
        cluster = pytestconfig.stash[_SHARED] = Cluster(installation=postgres_installation)
        pytestconfig.add_cleanup(cluster.close)
        cluster.start()
    return pytestconfig.stash[_SHARED]


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    """The URL of a database of the test's own, new and empty."""
    name = postgres_cluster.create_database()
    yield postgres_cluster.url(name)
    postgres_cluster.drop_database(name)


@pytest.fixture(scope="module")
def patroni(postgres_installation: Installation) -> Iterator[Patroni]:
    """Three servers under Patroni, that a module's tests may kill and have to leave whole. Without Patroni they are skipped."""
    if why := missing(Account.for_servers()):
        pytest.skip(why)
    with Patroni(postgres_installation) as started:
        yield started
