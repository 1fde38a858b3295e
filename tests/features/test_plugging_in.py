"""A feature is plugged in by its place in the list of features alone."""

from pathlib import Path

import pytest
from tests.features.toy import feature
from tests.web.kit import serving

from headway.server import FEATURES
from headway.store import statements
from headway.store.sqlite import connection, migrate
from headway.store.sqlite.dialect import SQLITE
from headway.web import routes

TOY = (*FEATURES, feature.TOY)


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """Read the statements and the migration of the toy beside those of the package, as files of the package are."""
    file = Path(feature.__file__).with_name("toy.sql")
    for name, sql in statements.named(file):
        monkeypatch.setitem(connection.STATEMENTS, name, SQLITE.spell(sql))
    ours = statements.migrations(SQLITE)
    monkeypatch.setattr(migrate, "migrations", lambda _: [*ours, (ours[-1][0] + 1, "toy", feature.MIGRATION)])


async def test_the_table_the_hook_and_the_route_of_a_feature_work_by_its_place_in_the_list():
    native = routes.native(route for each in TOY for route in each.routes)
    async with serving(features=TOY, speaks=(native,)) as server:
        await server.declare("backup", "mail")
        for task in ("backup", "mail", "mail"):
            await server.finished(task=task)
        await server.running(task="mail")
        assert (await server.get("/v1/toy/tallies")).json == {"tallies": {"backup": 1, "mail": 2}}


async def test_the_loop_of_a_feature_is_woken_by_its_event(monkeypatch):
    native = routes.native(feature.TOY.routes)
    async with serving(features=TOY, speaks=(native,)) as server:
        woken = []
        server.store.events.subscribe(feature.RunEnded, woken.append)
        await server.declare("backup")
        await server.finished()
        assert woken == [feature.RunEnded()]
        (make,) = feature.TOY.loops
        await make(server.service).tick()
        assert (await server.get("/v1/toy/tallies")).json == {"tallies": {}}
