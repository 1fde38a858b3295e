"""The API on each store: `serving` is that of the kit, on a new store of the test's own."""

import pytest
from tests.harness import START, opened
from tests.running import _empty_store, postgres_cluster, postgres_installation, postgres_store
from tests.web import kit

from headway.clock import ManualClock

__all__ = ["_empty_store", "postgres_cluster", "postgres_installation", "postgres_store", "serving"]


@pytest.fixture(params=["sqlite", "postgres"])
def serving(request):
    """Begin to serve from a new store of each kind; what does not depend on the store takes the kit's, in memory."""
    if request.param == "sqlite":
        return kit.serving
    url = request.getfixturevalue("postgres_store")

    def on_postgres(*tasks, **settings):
        return kit.serving(*tasks, store=opened(url, ManualClock(START), threaded=False), **settings)

    return on_postgres
