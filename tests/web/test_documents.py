"""The documents that are read off the route list: valid, complete, and every example in them works."""

from __future__ import annotations

import functools
import json

import msgspec
import pytest
from openapi_spec_validator import validate
from tests.web.kit import EVERY_SURFACE, NOBODY, routes_of, serving

from headway import errors
from headway.compat.cloudcoin.settings import CloudcoinSettings
from headway.config import Settings
from headway.features.access.keys import Keys
from headway.features.record_tasks.service import RecordTasks
from headway.features.tables.definitions import Tables
from headway.kernel.authority import EVERYBODY, Origin
from headway.protocol import workers as wire
from headway.protocol.access import CreateKey
from headway.protocol.record_tasks import CreateRecordTask
from headway.protocol.tables import CreateTable
from headway.server import NATIVE_SURFACE, ROUTES
from headway.web.documents import find
from headway.web.examples import BODIES
from headway.web.openapi import document
from headway.web.problem import every_error
from headway.web.route import route
from headway.web.surface import Mount, mount

SURFACES = ("native", "tadabase", "cloudcoin")
EVERY_ROUTE = routes_of(EVERY_SURFACE)


@functools.cache
def written(surface, *settings):
    """The document as JSON has it."""
    return json.loads(json.dumps(document(find(mount(EVERY_SURFACE, Settings(surfaces=settings)), surface))))


def within(value):
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from within(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from within(inner)


def operations(found):
    return {(path, method): said for path, item in found["paths"].items() for method, said in item.items()}


@pytest.mark.parametrize("surface", SURFACES)
def test_every_document_is_valid(surface):
    validate(written(surface))


@pytest.mark.parametrize("surface", SURFACES)
def test_every_reference_leads_somewhere_and_every_schema_is_referred_to(surface):
    found = written(surface)
    schemas = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert schemas == {value["$ref"] for value in within(found) if "$ref" in value}


def test_structs_of_one_name_have_schemas_of_their_own():
    class Other(msgspec.Struct, frozen=True):
        theirs: int

    Other.__name__ = Other.__qualname__ = "TerminationCount"
    added = route("GET", "/v1/others", ROUTES[0].handler, "ops", "", gives=Other, operation="others")
    found = document(Mount(NATIVE_SURFACE, (*ROUTES, added)))

    def members(path, method):
        name = operations(found)[path, method]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        return set(found["components"]["schemas"][name.rpartition("/")[2]]["properties"])

    assert members("/v1/others", "get") == {"theirs"}
    assert members("/v1/tasks/{name}:terminate", "post") == {"asked"}


@pytest.mark.parametrize("surface", SURFACES)
def test_what_is_a_list_says_of_what_with_a_schema_that_every_generator_can_read(surface):
    lists = [value for value in within(written(surface)) if value.get("type") == "array"]
    assert all(isinstance(value.get("items", {}), dict) for value in lists)
    assert all(value["minItems"] == value["maxItems"] for value in lists if "prefixItems" in value)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_document_has_every_route_of_its_surface_and_every_operation_a_name_of_its_own(surface):
    found = operations(written(surface))
    mine = {(r.path, r.method.lower()) for r in find(mount(EVERY_SURFACE, Settings()), surface).routes}
    assert set(found) == mine
    names = [operation["operationId"] for operation in found.values()]
    assert len(names) == len(set(names))


def test_each_route_is_in_one_document():
    assert {each.name for each in EVERY_SURFACE} == set(SURFACES)
    assert not any(path.startswith("/api/") for path in written("native")["paths"])


@pytest.mark.parametrize(
    ("surface", "ways"),
    [
        ("native", [{"key"}]),
        ("tadabase", [{"tadabase_id", "tadabase_key", "tadabase_secret"}, {"key"}]),
        ("cloudcoin", [{"key"}, {"token"}]),
    ],
)
def test_a_document_has_the_security_schemes_of_its_surface_and_no_others(surface, ways):
    found = written(surface)
    assert set(found["components"]["securitySchemes"]) == set.union(*ways)
    said = [tuple(frozenset(way) for way in operation["security"]) for operation in operations(found).values()]
    assert {way for each in said for way in each} == {frozenset(), *map(frozenset, ways)}


@pytest.mark.parametrize(
    ("surface", "names"),
    [("native", {"Problem"}), ("tadabase", {"ErrorReply"}), ("cloudcoin", {"FailedReply", "FlatFailure"})],
)
def test_a_document_has_the_errors_of_its_surface(surface, names):
    found = operations(written(surface))
    refused = {
        shown["schema"]["$ref"].rpartition("/")[2]
        for operation in found.values()
        for shown in operation["responses"]["500"]["content"].values()
    }
    assert refused == names


def test_with_strict_every_error_of_cloudcoins_comes_with_200():
    for operation in operations(written("cloudcoin", CloudcoinSettings(strict=True))).values():
        assert set(operation["responses"]) == {"200"}
        shown = operation["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
        assert len({option["$ref"] for option in shown}) == 2


async def test_a_server_shows_the_document_of_each_surface():
    async with serving() as server:
        for surface in SURFACES:
            answer = await server.get("/openapi.json" if surface == "native" else f"/openapi/{surface}.json")
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert set(answer.json["paths"]) == set(written(surface)["paths"])
        for path in ("/openapi/nothing.json", "/openapi/tadabase", "/openapi/tadabase.yaml"):
            assert (await server.get(path)).status == 404
        page = (await server.get("/docs")).body.decode()
        assert all(f'href="/openapi{path}.json"' in page for path in ("", "/tadabase", "/cloudcoin"))


def test_every_route_that_takes_a_body_has_an_example():
    assert set(BODIES) == {route.name for route in ROUTES if route.takes is not None}


def test_every_code_that_a_route_names_is_an_error():
    assert {code for route in ROUTES for code in route.problems} <= set(every_error())


NAMED = {"queues": "default", "record-tasks": "Remind"}


async def invoices(server, example, *, made):
    """What the example of a record task is about; and, to be changed, the task itself."""
    services = server.service.of(1)
    fields = [{"name": "Number"}, {"name": "Paid", "type": "boolean"}, {"name": "Reminded", "type": "boolean"}]
    await services.get(Tables).create(msgspec.convert({"name": "invoices", "fields": fields}, CreateTable))
    if made:
        await services.get(RecordTasks).create(msgspec.convert(example, CreateRecordTask))


@pytest.mark.parametrize("name", BODIES)
async def test_every_example_works(name, serving):
    async with serving(loopback_without_key=True) as server:
        method, path = name.split(" ")
        text = json.dumps(BODIES[name])
        run_id = await server.running()
        token = (await server.report(wire.TokenReport(run_id=run_id, epoch=1, name="approval"))).replies[0].token
        if path.endswith((":retry", ":resume")) or method == "PATCH":
            run_id = await server.start()
            await server.post(f"/v1/runs/{run_id}:{'suspend' if path.endswith(':resume') else 'terminate'}")
        if path == "/v1/runs/{id}" and method == "PATCH":
            run_id = await server.start()
        identity = server.worker if "workers" in path else run_id
        schedule = ""
        if "{schedule}" in path:
            made = {"name": "s", "task": "backup", "occurrence": "Daily"}
            schedule = (await server.post("/v1/schedules", made)).json["id"]
        example = json.loads(text)
        if "record-tasks" in path:
            await invoices(
                server, example if method == "POST" else BODIES["POST /v1/record-tasks"], made=method != "POST"
            )
        if "worker_id" in example:
            example["worker_id"] = server.worker
            example |= {"held": [[run_id, 1]]} if "held" in example else {}
            for report in example.get("reports", []):
                report["run_id"] = run_id
        if "organisations" in path:
            identity = (await server.get("/v1/whoami")).json["organisation"]["id"]
        if "users" in path:
            identity = (await server.post("/v1/users", {"name": "Ada"})).json["id"]
        key = (
            await server.service.of(1).get(Keys).create(CreateKey(name="k", scopes=["key:admin"]), EVERYBODY, Origin())
            if "{key}" in path
            else None
        )
        key_id = "" if key is None else key.entry.key.id
        things = await server.things(BODIES["POST /v1/tables"]) if "{table}" in path else {}
        example = json.loads(
            json.dumps(example).replace(NOBODY, things.get("file" if path.endswith(":import") else "record", NOBODY))
        )
        names = {"id": identity, "name": NAMED.get(path.split("/")[2], "backup"), "token": token, "key": key_id}
        target = path.format(**names, **things, schedule=schedule)
        answer = await server.ask(method, target, example)
        assert answer.status < 300, answer.body
        documented = written("native")["paths"][path][method.lower()]["responses"]
        assert str(answer.status) in documented


@pytest.mark.parametrize("code", sorted(every_error()))
async def test_every_error_has_its_page(code):
    async with serving() as server:
        page = await server.get(f"/errors/{code}")
        assert (page.status, page.json["code"]) == (200, code)
        assert page.json["description"].endswith(".")
        html = await server.get(f"/errors/{code}", accept="text/html,*/*")
        assert html.headers["content-type"] == "text/html; charset=utf-8"
        assert "script" not in html.headers["content-security-policy"]
        assert html.headers["content-security-policy"].startswith("default-src 'none'")


async def test_the_list_of_errors_is_whole():
    async with serving() as server:
        listed = {page["code"] for page in (await server.get("/errors")).json["data"]}
        assert set(errors.BY_CODE) <= listed
        assert (await server.get("/errors", accept="text/html")).status == 200
        assert (await server.get("/errors/nope")).status == 404


async def test_the_root_leads_to_the_documents_and_these_show_every_route():
    async with serving() as server:
        assert (await server.get("/")).headers["location"] == "/docs"
        page = (await server.get("/docs")).body.decode()
        assert all(route.path in page for route in ROUTES)
        assert "<script" not in page


async def test_metrics_speak_of_runs_queues_and_answers(serving):
    async with serving() as server:
        run_id = await server.finished()
        await server.get(f"/v1/runs/{run_id}")
        text = (await server.get("/metrics")).body.decode()
        for line in (
            'headway_runs{organisation="1",queue="default",state="succeeded",task="backup"} 1.0',
            'headway_runs_started_total{organisation="1",queue="default",task="backup"} 1.0',
            'headway_queue_depth{organisation="1",queue="default"} 0.0',
            'headway_http_requests_total{route="GET /v1/runs/{id}",status="200"} 1.0',
            "headway_workers 1.0",
            "headway_db_commits_total",
            "headway_db_cache_bytes",
            'headway_db_write_seconds_bucket{le="+Inf"}',
            "headway_streams_open 0.0",
            "process_resident_memory_bytes",
        ):
            assert line in text, line
        assert run_id not in text


async def test_readiness_depends_on_the_checks_that_were_passed_in():
    async with serving() as server:
        assert (await server.get("/livez")).json["status"] == "ok"
        assert (await server.get("/readyz")).json == {"status": "ready", "checks": {"server": "ok", "store": "ok"}}

        async def workers():
            return "none has connected yet"

        server.api.checks["workers"] = workers
        answer = await server.get("/readyz")
        assert (answer.status, answer.json["checks"]["workers"]) == (503, "none has connected yet")
