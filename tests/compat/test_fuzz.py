"""The surfaces' part of the OpenAPI document against the server: whatever it allows is answered as it says, in the surface's
shape, and whatever is sent beside it is never a 5xx.
"""

from __future__ import annotations

import asyncio
from itertools import cycle

import pytest
import schemathesis
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks
from tests.harness import START, opened
from tests.web.fuzzing import so_many
from tests.web.kit import EVERY_SURFACE, Server, from_here, routes_of

from headway.clock import ManualClock
from headway.features.access.access import Access
from headway.ids import canonical_id
from headway.protocol import runs as wire
from headway.store.store import Store

EXAMPLES, EXAMPLES_ON_POSTGRES = 12, 4
OTHERS_NAMES = {path.removeprefix("/api/v1/") for route in routes_of() if "{" not in (path := route.path)}
TABLE = {"name": "things", "fields": [{"name": "Name"}, {"name": "Amount", "type": "number", "indexed": True}]}


def served(store: Store | None = None) -> tuple[Server, dict[str, str]]:
    """A server with the surfaces, and what is there: runs in several states, a table with a record."""
    server = Server(store, EVERY_SURFACE, wait_max_ms=1, loopback_without_key=True)

    async def prepare() -> dict[str, str]:
        server.store.start()
        await server.service.servers.join()
        await server.service.part(Access).load()
        await server.declare("backup", "fix")
        starts = [await server.service.of(1).runs.start(wire.StartRun(task="backup")) for _ in range(3)]
        (lease, *_) = await server.claim()
        await server.succeed(lease.run_id)
        table = await server.post("/v1/tables", TABLE)
        record = await server.post("/v1/tables/things/records", {"values": {"Name": "first"}})
        found = {f"run{number}": started.run.id for number, started in enumerate(starts)}
        return {**found, "table": table.json["id"], "record": record.json["id"]}

    return server, asyncio.run(prepare())


SERVER, THERE = served()
tadabase = schemathesis.openapi.from_asgi("/openapi/tadabase.json", from_here(SERVER.api))
cloudcoin = schemathesis.openapi.from_asgi("/openapi/cloudcoin.json", from_here(SERVER.api))


@pytest.fixture(scope="module")
def on_postgres(postgres_cluster, _empty_store):
    """The surfaces on PostgreSQL, and how what is there is called on that server."""
    name = postgres_cluster.create_database(template=_empty_store)
    server, there = served(opened(postgres_cluster.url(name), ManualClock(START), threaded=False))
    yield from_here(server.api), {THERE[noun]: there[noun] for noun in THERE}
    asyncio.run(server.store.close())
    postgres_cluster.drop_database(name)


RUNS, TURNS = cycle([given for noun, given in THERE.items() if noun.startswith("run")]), cycle((True, True, False))


@tadabase.hook
@cloudcoin.hook
def map_path_parameters(context, path_parameters):
    """Mostly, something that is there."""
    if path_parameters and next(TURNS):
        for noun in path_parameters:
            if noun == "name":
                path_parameters[noun] = "backup"
            elif noun in THERE:
                path_parameters[noun] = THERE[noun]
            elif noun == "id" and canonical_id(str(path_parameters[noun])):
                path_parameters[noun] = next(RUNS)
    return path_parameters


@cloudcoin.hook
def filter_path_parameters(context, path_parameters):
    """Leave out commands whose path is Tadabase's: its routes of that path come first, as for GET /api/v1/status.

    Hypothesis takes some strings from the constants of the code, so that it finds these names now and then.
    """
    return (path_parameters or {}).get("name") not in OTHERS_NAMES


CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]
"""Not negative_data_rejection: as theirs do, the surfaces take bodies and parameters that they have no use for."""


def on(case, api, ids):
    """Send the case to another server, whose ids differ."""
    case.path_parameters = {name: ids.get(given, given) for name, given in (case.path_parameters or {}).items()}
    return case.call(app=api)


@tadabase.parametrize()
@so_many(EXAMPLES)
def test_tadabases_surface_keeps_to_its_document(case):
    case.validate_response(case.call(), checks=CHECKS)


@cloudcoin.parametrize()
@so_many(EXAMPLES)
def test_cloudcoins_surface_keeps_to_its_document(case):
    case.validate_response(case.call(), checks=CHECKS)


@tadabase.parametrize()
@so_many(EXAMPLES_ON_POSTGRES)
def test_tadabases_surface_keeps_to_its_document_on_postgresql(case, on_postgres):
    case.validate_response(on(case, *on_postgres), checks=CHECKS)


@cloudcoin.parametrize()
@so_many(EXAMPLES_ON_POSTGRES)
def test_cloudcoins_surface_keeps_to_its_document_on_postgresql(case, on_postgres):
    case.validate_response(on(case, *on_postgres), checks=CHECKS)
