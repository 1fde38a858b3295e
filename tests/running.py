"""Fixtures and the running of coroutine tests, for the folders whose conftest takes them in."""

import asyncio
import inspect

import pytest
from tests.world import in_memory, on_disk


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


@pytest.fixture
def world(runner):
    """A service in memory; at the end every row is held against every other."""
    made = _alive(runner, in_memory)
    yield made
    runner.run(made.close())


@pytest.fixture
def disk(runner, tmp_path):
    """A service on a file, with the writer on its thread."""
    made = _alive(runner, lambda: on_disk(tmp_path / "headway.db"))
    yield made
    runner.run(made.close())
