"""Which web pages may ask: the server's own and those that the settings name, on every surface, for every verb."""

from __future__ import annotations

import pytest
from tests.web import kit
from tests.web.kit import serving

from headway.compat.cloudcoin.settings import CloudcoinSettings

OTHERS = [  # the kit's clients ask localhost:8006
    {"origin": "http://localhost:3000", "sec_fetch_site": "same-site"}, {"origin": "http://localhost:3000"},
    {"origin": "http://localhost"}, {"origin": "http://127.0.0.1:8006"}, {"origin": "http://[::1]:8006"},
    {"origin": "https://localhost:8006"}, {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "file://"},
    {"origin": "http://localhost:8006.evil.example"}, {"origin": "http://localhost:8006", "sec_fetch_site": "same-site"},
    {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"},
]  # fmt: skip
UNSAID = [{"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}]
"""A browser that has a change sent says for which page; who does not is none, or has had it taken out."""
OURS = [{}, {"origin": "http://localhost:8006", "sec_fetch_site": "same-origin"}, {"origin": "http://localhost:8006"}]
FORM = {"content_type": "application/x-www-form-urlencoded"}
PLAIN = {"content_type": "text/plain"}


@pytest.mark.parametrize("page", [*OTHERS, *UNSAID])
async def test_a_page_of_another_site_changes_nothing(page):
    async with serving() as server:
        run_id = await server.start()
        for method, path, body, kind in (
            ("POST", "/v1/runs", b'{"task":"backup"}', {}),
            ("POST", "/v1/runs", b'{"task":"backup"}', PLAIN),
            ("POST", f"/v1/runs/{run_id}:terminate", None, {}),
            ("DELETE", f"/v1/runs/{run_id}", None, {}),
            ("PATCH", f"/v1/runs/{run_id}", b'{"priority":1}', {}),
            ("POST", "/v1/queues/default:pause", b"", FORM),
            ("POST", "/api/v1/tasks/run/backup", b"a=b", FORM),
            ("POST", "/api/v1/tasks/run/backup", None, {}),
            ("POST", "/api/v1/backup", b"{}", PLAIN),
            ("PUT", "/api/v1/fix", None, {}),
        ):
            answer = await server.ask(method, path, body, **page, **kind)
            assert (answer.status, b"web page" in answer.body or b"Permission Denied" in answer.body) == (403, True), (
                path
            )
        runs = (await server.get("/v1/runs")).json["data"]
        assert [(run["id"], run["state"]) for run in runs] == [(run_id, "queued")]


@pytest.mark.parametrize("page", OURS)
async def test_a_page_of_our_own_and_what_is_no_browser_may(page):
    async with serving() as server:
        run_id = (await server.post("/v1/runs", {"task": "backup"}, **page)).json["id"]
        assert (await server.post(f"/v1/runs/{run_id}:terminate", **page)).status == 200
        assert (await server.post("/api/v1/backup", {}, **page)).status == 200
        assert (await server.post("/api/v1/tasks/run/backup", **page)).status == 200


@pytest.mark.parametrize("page", OTHERS)
async def test_a_page_of_another_site_opens_no_streams_and_reads_nothing(page):
    async with serving() as server:
        for path in ("/v1/events", "/v1/runs", "/api/v1/tasks", f"/api/v1/tasks/{kit.NOBODY}"):
            for accept in ("text/event-stream", "*/*"):
                assert (await server.get(path, accept=accept, **page)).status == 403, path
        assert not server.api.waiting


async def test_a_person_may_come_by_a_link_or_by_typing_but_starts_nothing_so():
    async with serving(surfaces=(CloudcoinSettings(aliases=("GET go=backup",)),)) as server:
        link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
        assert (await server.get("/docs", **link)).status == 200
        assert (await server.get("/api/v1/go", **link)).status == 403
        assert (await server.post("/v1/queues/default:pause", **link)).status == 403
        typed = {"sec_fetch_site": "none", "sec_fetch_mode": "navigate"}
        assert (await server.get("/v1/runs", **typed)).status == 200
        assert (await server.get("/api/v1/go", **typed)).status == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "http://localhost"), ("localhost:80", "http://localhost"), ("[::1]:9", "http://[::1]:9"),
        ("LOCALHOST:9", "http://localhost:9"), ("headway.lan", "https://headway.lan"), ("headway.lan", "http://headway.lan"),
        ("headway.lan:443", "https://headway.lan"), ("headway.lan:8443", "https://headway.lan:8443"),
    ],
)  # fmt: skip
async def test_an_origin_is_the_hosts_with_its_port(host, origin):
    async with serving(allow_host=("headway.lan",)) as server:
        assert (await server.post("/api/v1/backup", {}, host=host, origin=origin)).status == 200
        assert (await server.post("/api/v1/backup", {}, host=host, origin=origin + "0")).status == 403


FORWARDED = {"host": "127.0.0.1:8006", "x_forwarded_host": "headway.lan", "x_forwarded_proto": "https"}


async def test_what_a_trusted_proxy_says_of_the_host_counts_and_what_others_say_does_not():
    async with serving(allow_host=("headway.lan",), trusted_proxy=("10.0.0.1",)) as server:
        for peer, origin, more, status in (
            ("10.0.0.1", "https://headway.lan", {}, 200),
            ("10.0.0.1", "http://headway.lan", {}, 403),
            ("10.0.0.1", "https://headway.lan:8443", {"x_forwarded_host": "headway.lan:8443"}, 200),
            ("10.0.0.1", "https://evil.example", {"x_forwarded_host": "evil.example"}, 403),
            ("10.0.0.1", "http://127.0.0.1:8006", {}, 403),
            ("10.0.0.2", "https://headway.lan", {}, 403),
        ):
            asked = {**FORWARDED, "peer": peer, "origin": origin, **more}
            assert (await server.post("/api/v1/backup", {}, **asked)).status == status, asked


APP = "https://app.example"


async def test_a_listed_origin_may_use_every_surface_and_read_the_answers():
    async with serving(allow_origin=(APP,)) as server:
        page = {"origin": APP, "sec_fetch_site": "cross-site"}
        for method, path in (
            ("POST", "/v1/runs"),
            ("GET", "/v1/runs"),
            ("POST", "/api/v1/tasks/run/backup"),
            ("POST", "/api/v1/backup"),
            ("GET", "/v1/nothing"),
        ):
            asked = await server.ask("OPTIONS", path, **page, access_control_request_method=method)
            answer = await server.ask(method, path, {"task": "backup"} if path == "/v1/runs" else None, **page)
            assert answer.status in (200, 202, 404), path
            for said in (answer, *([asked] if asked.status != 404 else [])):
                assert (said.headers["access-control-allow-origin"], said.headers["vary"]) == (APP, "origin"), path
        assert "PATCH" in asked.headers.get("access-control-allow-methods", "PATCH")
        stream = await server.listen("/v1/events", **page).begun()
        assert stream.headers["access-control-allow-origin"] == APP
        await stream.leave()
        other = await server.post("/v1/runs", {"task": "backup"}, origin=APP + ":444")
        assert (other.status, "access-control-allow-origin" in other.headers) == (403, False)
