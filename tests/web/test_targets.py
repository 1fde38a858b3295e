"""Whatever leads inside is refused when it is named, with the place where it stands: of webhooks, mail servers and databases."""

import pytest

INSIDE = [
    "127.0.0.1", "localhost", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "[::1]",
    "[::ffff:10.0.0.1]", "[fd00:ec2::254]", "[64:ff9b::7f00:1]", "metadata.google.internal", "printer.local",
]  # fmt: skip
THINGS = {"name": "things", "fields": [{"name": "Name"}]}


def task(url):
    return {"name": "call", "table": "things", "actions": [{"action": "webhook", "url": url}]}


@pytest.mark.parametrize("host", INSIDE)
async def test_what_leads_inside_is_refused_when_it_is_named(host, serving):
    async with serving() as server:
        await server.post("/v1/tables", THINGS)
        refused = await server.post("/v1/record-tasks", task(f"https://{host}/hook"))
        assert (refused.status, refused.code) == (422, "target_refused"), refused.body
        assert refused.json["errors"][0]["pointer"] == "/actions/0/url"
        mail = {"host": host.strip("[]"), "sender": "reports@example.com"}
        refused = await server.ask("PUT", "/v1/mail-server", mail)
        assert (refused.status, refused.code) == (422, "target_refused"), refused.body
        for kind in ("postgresql", "mysql"):
            far = {"name": "far", "external": {"url": f"{kind}://ann:geheim@{host}/d", "relation": "people"}}
            refused = await server.post("/v1/tables", far)
            assert (refused.status, refused.code) == (422, "external_refused"), refused.body
            assert b"geheim" not in refused.body
        assert (await server.get("/v1/record-tasks")).json == {"data": []}
        assert (await server.get("/v1/mail-server")).status == 404
        assert [table["name"] for table in (await server.get("/v1/tables")).json["data"]] == ["things"]


async def test_a_change_cannot_bring_in_what_could_not_be_named(serving):
    async with serving(outbound_allow=("hooks.example",)) as server:
        await server.post("/v1/tables", THINGS)
        made = await server.post("/v1/record-tasks", task("https://hooks.example/a"))
        assert made.status == 201, made.body
        actions = task("https://10.0.0.1/a")["actions"]
        refused = await server.ask("PATCH", "/v1/record-tasks/call", {"actions": actions})
        assert (refused.status, refused.code) == (422, "target_refused")
        assert (await server.get("/v1/record-tasks/call")).json["actions"] == made.json["actions"]
