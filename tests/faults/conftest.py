import pytest
from tests.faults.fork_server import ForkServer
from tests.faults.server import Deployment
from tests.faults.verdict import clean
from tests.postgres.fixtures import postgres_cluster, postgres_installation, postgres_url

__all__ = ["deployment", "fork_server", "postgres_cluster", "postgres_installation", "postgres_url"]


@pytest.fixture
def deployment(request, tmp_path):
    """A store in a file, or, as the parameter says, in a database; at the end every row is held against every other."""
    of_postgres = getattr(request, "param", "sqlite") == "postgres"
    found = Deployment(tmp_path, request.getfixturevalue("postgres_url") if of_postgres else None)
    yield found
    found.clean_up()
    if found.kind == "postgres" or found.store.exists():
        assert clean(found) == []


@pytest.fixture(scope="module")
def fork_server():
    found = ForkServer()
    yield found
    found.close()
