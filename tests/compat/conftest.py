"""The API with all its surfaces: in-process on each store, and as a server with workers for clients in other languages."""

import pytest
from tests.compat.clients import Clients
from tests.faults.server import Deployment, Server
from tests.harness import START, opened
from tests.running import _empty_store, postgres_cluster, postgres_installation, postgres_store
from tests.web import kit

from headway.clock import ManualClock

__all__ = ["_empty_store", "postgres_cluster", "postgres_installation", "postgres_store", "serving"]


def _serving(*tasks, store=None, **settings):
    return kit.serving(*tasks, store=store, **settings)


@pytest.fixture(params=["sqlite", "postgres"])
def serving(request):
    """Begin to serve from a new store of each kind."""
    if request.param == "sqlite":
        return _serving
    url = request.getfixturevalue("postgres_store")
    return lambda *tasks, **settings: _serving(
        *tasks, store=opened(url, ManualClock(START), threaded=False), **settings
    )


@pytest.fixture
def in_memory():
    """Begin to serve from memory: for what does not depend on the store."""
    return _serving


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A server that listens, with a worker for the tasks of the snippets."""
    place = Deployment(tmp_path_factory.mktemp("live"))
    place.folder.joinpath("gates").mkdir()
    server = Server(place, app="tests.compat.app:app", HEADWAY_TEST_GATES=str(place.folder / "gates")).start()
    server.knows("gated")
    yield server
    place.clean_up()


@pytest.fixture(scope="module")
def clients(live):
    """The documented clients, for that server."""
    return Clients(live.deployment.folder, live.deployment.url)
