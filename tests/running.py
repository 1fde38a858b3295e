"""Fixtures and the running of coroutine tests, for the folders whose conftest takes them in."""

import asyncio
import inspect

import pytest
from tests.postgres.fixtures import postgres_cluster, postgres_installation, postgres_url
from tests.world import START, in_memory, on_disk, on_postgres

from headway.clock import ManualClock
from headway.storage.postgres.open import prepare

__all__ = [
    "_empty_store", "disk", "of_sqlite", "postgres_cluster", "postgres_installation", "postgres_store", "postgres_url",
    "pytest_pyfunc_call", "runner", "world",
]  # fmt: skip


@pytest.fixture
def runner():
    with asyncio.Runner() as running:
        yield running


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Carry out coroutine tests on the loop of their fixtures."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    runner = pyfuncitem._request.getfixturevalue("runner")
    runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def _alive(runner, make):
    async def up():
        return make()

    return runner.run(up())


@pytest.fixture(params=["sqlite", "postgres"])
def world(request, runner):
    """A service on the caller's thread, of each store; at the end every row is held against every other."""
    if request.param == "sqlite":
        made = _alive(runner, in_memory)
    else:
        url = request.getfixturevalue("postgres_store")
        made = _alive(runner, lambda: on_postgres(url))
        runner.run(made.service.servers.join())
    yield made
    runner.run(made.close())


@pytest.fixture(params=["sqlite", "postgres"])
def disk(request, runner, tmp_path):
    """A service with the writer on its thread, of each store."""
    if request.param == "sqlite":
        made = _alive(runner, lambda: on_disk(tmp_path / "headway.db"))
    else:
        url = request.getfixturevalue("postgres_store")
        made = _alive(runner, lambda: on_postgres(url, threaded=True))
        runner.run(made.service.servers.join())
    yield made
    runner.run(made.close())


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
