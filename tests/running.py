"""Fixtures of services on each store, for the folders whose conftest takes them in."""

import pytest
from tests.harness import START, in_memory, on_disk, on_postgres
from tests.postgres.fixtures import postgres_cluster, postgres_installation, postgres_url

from headway.clock import ManualClock
from headway.store.postgres.open import prepare

__all__ = [
    "_empty_store",
    "disk",
    "harness",
    "of_sqlite",
    "postgres_cluster",
    "postgres_installation",
    "postgres_store",
    "postgres_url",
]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres"])
async def harness(request, anyio_backend):
    """A service on the caller's thread, of each store; at the end every row is held against every other."""
    if request.param == "sqlite":
        made = in_memory()
    else:
        made = on_postgres(request.getfixturevalue("postgres_store"))
        await made.service.servers.join()
    yield made
    await made.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def disk(request, anyio_backend, tmp_path):
    """A service with the writer on its thread, of each store."""
    if request.param == "sqlite":
        made = on_disk(tmp_path / "headway.db")
    else:
        made = on_postgres(request.getfixturevalue("postgres_store"), threaded=True)
        await made.service.servers.join()
    yield made
    await made.close()


def of_sqlite(fixture):
    """Mark a test that is about files: it has the fixture of that store only."""
    return pytest.mark.parametrize(fixture, ["sqlite"], indirect=True)


@pytest.fixture(scope="session")
def _empty_store(postgres_cluster):
    """The name of a database with the schema and nothing in it, to copy."""
    name = postgres_cluster.create_database()
    prepare(postgres_cluster.url(name), ManualClock(START))
    return name


@pytest.fixture
def postgres_store(postgres_cluster, _empty_store):
    """The URL of a store of the test's own, new and empty."""
    name = postgres_cluster.create_database(template=_empty_store)
    yield postgres_cluster.url(name)
    postgres_cluster.drop_database(name)
