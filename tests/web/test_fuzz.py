"""The OpenAPI document against the server: whatever it allows is answered as it says, whatever it forbids is refused."""

from __future__ import annotations

import asyncio
from itertools import cycle

import pytest
import schemathesis
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks
from tests.harness import START, opened
from tests.web.fuzzing import so_many
from tests.web.kit import Server, from_here

from headway.clock import ManualClock
from headway.features.access.access import Access
from headway.features.schedules.service import Schedules
from headway.ids import canonical_id
from headway.protocol import runs as wire
from headway.protocol.schedules import CreateSchedule
from headway.store.store import Store

EXAMPLES, EXAMPLES_ON_POSTGRES = 8, 3


def served(store: Store | None = None) -> tuple[Server, list[str]]:
    """A server, and the ids of what is there: its worker's, then those of runs, in the same states on every server."""
    server = Server(store, wait_max_ms=1, loopback_without_key=True)

    async def prepare() -> list[str]:
        server.store.start()
        await server.service.servers.join()
        await server.service.part(Access).load()
        await server.declare("backup", "headway.bulk")
        specs = [wire.StartRun(task="backup") for _ in range(4)]
        started = [(await server.service.of(1).runs.start(spec)).run.id for spec in specs]
        (lease, *_) = await server.claim()
        await server.succeed(lease.run_id)
        made = CreateSchedule(name="s", task="backup", occurrence="Daily")
        schedule = await server.service.of(1).get(Schedules).create(made)
        return [server.worker, schedule.id, *started]

    return server, asyncio.run(prepare())


SERVER, (WORKER, SCHEDULE, *RUNS) = served()
schema = schemathesis.openapi.from_asgi("/openapi.json", from_here(SERVER.api))


@pytest.fixture(scope="module")
def on_postgres(postgres_cluster, _empty_store):
    """The API on PostgreSQL, and by what its ids differ from those of the server in memory."""
    name = postgres_cluster.create_database(template=_empty_store)
    server, there = served(opened(postgres_cluster.url(name), ManualClock(START), threaded=False))
    yield from_here(server.api), dict(zip([WORKER, SCHEDULE, *RUNS], there, strict=True))
    asyncio.run(server.store.close())
    postgres_cluster.drop_database(name)


IDS, TURNS = cycle(RUNS), cycle((True, False))


@schema.hook
def map_path_parameters(context, path_parameters):
    """Every other time, something that is there."""
    if path_parameters and next(TURNS):
        path = context.operation.path
        if "name" in path_parameters:
            path_parameters["name"] = "backup" if "task" in path else "default"
        if canonical_id(str(path_parameters.get("id", ""))):
            path_parameters["id"] = WORKER if path.startswith("/v1/workers") else next(IDS)
        if "schedule" in path_parameters:
            path_parameters["schedule"] = SCHEDULE
    return path_parameters


CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.unsupported_method,
    openapi_checks.negative_data_rejection,
]
"""All but: ignored_auth (whoever comes without a key may everything here), positive_data_acceptance and missing_required_header (a schema cannot say
what is a duration, a known task, or a state that allows a verb), use_after_free (removed runs answer 410)."""


def keeps_to_it(case, answer):
    """Hold an answer against the document."""
    if answer.status_code == 503 and case.operation.path == "/readyz":
        return
    # A batch answers for each of its items; what is too long is refused as that.
    lenient = case.operation.path == "/v1/runs:batch" or answer.status_code in (413, 414, 431)
    case.validate_response(answer, checks=CHECKS[:-1] if lenient else CHECKS)


operations = schema.exclude(path_regex="/signals$").parametrize()


@operations
@so_many(EXAMPLES)
def test_the_server_keeps_to_its_document(case):
    keeps_to_it(case, case.call())


@operations
@so_many(EXAMPLES_ON_POSTGRES)
def test_the_server_keeps_to_its_document_on_postgresql(case, on_postgres):
    api, ids = on_postgres
    case.path_parameters = {name: ids.get(given, given) for name, given in (case.path_parameters or {}).items()}
    keeps_to_it(case, case.call(app=api))
