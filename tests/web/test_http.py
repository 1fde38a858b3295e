"""What any request meets before a handler: paths, methods, hosts, other sites, headers, limits."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.web.kit import NOBODY, serving

from headway.config import Settings
from headway.server import ROUTES
from headway.web.addresses import Addresses
from headway.web.hostcheck import HostCheck
from headway.web.route import Route


async def test_unknown_paths_are_404():
    async with serving() as server:
        for path in (
            "/nope",
            "/v1",
            "/v1/",
            "/v1/runs/",
            "/v1/runs/a/b/c",
            "//v1/runs",
            "/v1/runs:nope/x",
            "/v1//runs",
        ):
            answer = await server.get(path)
            assert (answer.status, answer.code) == (404, "route_not_found"), path


async def test_unknown_methods_are_405_and_told_what_there_is():
    async with serving() as server:
        for method in ("PUT", "TRACE", "CONNECT", "BREW", "DELETE"):
            answer = await server.ask(method, "/v1/runs")
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST"), method
        answer = await server.get(f"/v1/runs/{NOBODY}:retry")
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")


async def test_a_verb_that_there_is_not_is_told_which_there_are():
    async with serving("a:b") as server:
        answer = await server.post(f"/v1/runs/{NOBODY}:stop", {})
        assert (answer.status, answer.code) == (404, "route_not_found")
        assert "retry" in answer.json["detail"]
        assert "terminate" in answer.json["detail"]
        assert (await server.get("/v1/tasks/a:b")).status == 200
        assert (await server.post(f"/v1/runs/{NOBODY}", {})).status == 405


async def test_a_time_that_is_none_is_refused_in_our_own_words():
    async with serving() as server:
        for text, what in (("soon", "is not a time"), ("2026-12-01T02:00:00", "has no time zone")):
            answer = await server.post("/v1/runs", {"task": "backup", "run_at": text})
            assert (answer.status, what in answer.json["detail"], "isoformat" in answer.json["detail"]) == (
                422,
                True,
                False,
            )


async def test_options_says_what_is_allowed_and_grants_no_other_site_anything():
    async with serving() as server:
        answer = await server.ask("OPTIONS", "/v1/runs", origin="https://evil.example")
        assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert (await server.ask("OPTIONS", "/nope")).status == 404


async def test_head_is_get_without_the_body():
    async with serving() as server:
        run_id = await server.start()
        whole, head = await server.get(f"/v1/runs/{run_id}"), await server.ask("HEAD", f"/v1/runs/{run_id}")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(whole.body)))


async def test_a_verb_may_be_written_with_an_encoded_colon():
    async with serving() as server:
        run_id = await server.start()
        assert (await server.post(f"/v1/runs/{run_id}%3Aterminate")).json["state"] == "terminated"
        assert (await server.get("/v1/runs%3Acount")).status == 200


async def test_names_may_have_colons_and_slashes_of_their_own():
    async with serving("ns:backup", "a/b", "x:activate") as server:
        assert (await server.get("/v1/tasks/ns:backup")).json["name"] == "ns:backup"
        assert (await server.get("/v1/tasks/a%2Fb")).json["url"] == "/v1/tasks/a%2Fb"
        assert (await server.get("/v1/tasks/x%3Aactivate")).json["name"] == "x:activate"
        assert (await server.post("/v1/tasks/x%3Aactivate:deactivate")).json["active"] is False


async def test_only_our_own_hosts_are_answered():
    async with serving(allow_host=("headway.lan",)) as server:
        for host in ("localhost", "127.0.0.1:8006", "[::1]:9", "[::1]", "HEADWAY.lan:80", "localhost."):
            assert (await server.get("/v1/runs", host=host)).status == 200, host
        for host in (
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io:8006",
            "",
            "localhost:x",
            "a@localhost",
            None,
        ):
            answer = await server.get("/v1/runs", host=host)
            assert (answer.status, answer.code) == (421, "bad_host"), host
            for path in ("/livez", "/healthz", "/readyz"):
                assert (await server.get(path, host=host)).status == 200, host


async def test_every_answer_says_how_it_may_be_used():
    async with serving() as server:
        for path in ("/livez", "/nope", "/docs", "/v1/runs"):
            headers = (await server.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"


async def test_a_request_id_is_echoed_if_it_is_sane_and_made_if_not():
    async with serving() as server:
        assert (await server.get("/livez", x_request_id="abc-1")).headers["x-request-id"] == "abc-1"
        made = {
            (await server.get("/livez", x_request_id=bad)).headers["x-request-id"]
            for bad in ("", "a b", "x" * 129, None)
        }
        assert len(made) == 4
        assert all(name.startswith("req_") and len(name) == 28 for name in made)
        problem = await server.get("/nope", x_request_id="abc-1")
        assert problem.json["request_id"] == "abc-1"


async def test_request_ids_say_nothing_of_how_many_requests_there_were():
    async with serving() as server:
        made = [(await server.get("/nope")).json["request_id"] for _ in range(300)]
        assert len(set(made)) == 300
        digits = [name.removeprefix("req_") for name in made]
        assert all(len(set(place)) > 8 for place in zip(*digits, strict=True)), "a part of them stays the same"
        steps = {int(after, 16) - int(before, 16) for before, after in pairwise(digits)}
        assert (len(steps), min(steps) < 0) == (299, True), "they count"


async def test_two_hosts_or_lengths_are_refused():
    from tests.web.kit import scope_of

    async with serving() as server:
        for name in (b"host", b"content-length", b"idempotency-key"):
            scope = scope_of("GET", "/livez", {})
            scope["headers"] += [(name, b"localhost"), (name, b"localhost")]
            sent = []

            async def send(message, sent=sent):
                sent.append(message)

            await server.api(scope, None, send)
            assert sent[0]["status"] == 400


async def test_long_urls_are_414():
    async with serving() as server:
        answer = await server.get("/v1/runs?key=" + "x" * 17_000)
        assert (answer.status, answer.code) == (414, "uri_too_long")


async def test_too_many_headers_are_431():
    async with serving() as server:
        answer = await server.get("/livez", **{f"x_{n}": "1" for n in range(200)})
        assert (answer.status, answer.code) == (431, "headers_too_large")


async def test_unknown_parameters_are_refused_and_the_known_ones_named():
    async with serving() as server:
        answer = await server.get("/v1/runs?stat=failed")
        assert (answer.status, answer.code) == (400, "bad_parameter")
        assert "label.NAME" in answer.json["detail"]
        assert (await server.get("/livez?x=1")).status == 400


@pytest.mark.parametrize(
    "query",
    ["page_size=0", "page_size=-1", "page_size=x", "page_size=", "page_size=1&page_size=2", "state=nope", "state=",
     "created_after=yesterday", "created_after=2026-01-01T00:00:00", "parent_id=x", "order_by=id", "a", "label.a=1&label.a=2",
     "key=%00", "key=%ff", "created_after=9999-12-31T23:59:59-23:00", "created_before=0001-01-01T00:00:00Z",
     "page_size=99999999999999999999999", "page_size=1e3", "page_size=%D9%A1"],
)  # fmt: skip
async def test_parameters_that_cannot_be_are_400(query):
    async with serving() as server:
        answer = await server.get(f"/v1/runs?{query}")
        assert (answer.status, answer.code) == (400, "bad_parameter"), answer.body


def test_a_route_without_a_scope_does_not_import():
    route = ROUTES[0]
    with pytest.raises((AssertionError, TypeError)):
        Route(method="GET", path="/x", handler=route.handler, summary="x", scope=None)
    with pytest.raises(TypeError):
        Route(method="GET", path="/x", handler=route.handler, summary="x")


def test_hosts_that_were_seen_are_remembered_within_a_bound():
    host_check = HostCheck(Settings(), Addresses())
    for port in range(1000):
        host_check.check_host(b"localhost:%d" % port)
    assert len(host_check.accepted) <= 256


async def test_the_server_that_answers_is_among_those_that_share_the_store(serving):
    async with serving() as server:
        await server.service.servers.join()
        (this,) = (await server.get("/v1/servers")).json["data"]
        assert (this["this"], len(this["host"]) > 0) == (True, True)
