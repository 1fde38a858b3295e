"""Tables and records over HTTP: statuses, headers, pages, and what hostile clients send."""

import json
from urllib.parse import quote

from tests.web.kit import NOBODY

CUSTOMERS = {
    "name": "customers",
    "fields": [
        {"name": "Name", "required": True},
        {"name": "Age", "type": "number", "indexed": True},
        {"name": "Tags", "type": "multi_choice", "choices": ["a", "b"]},
    ],
}


async def made(server, count=0):
    answer = await server.post("/v1/tables", CUSTOMERS)
    assert answer.status == 201, answer.body
    ids = []
    for number in range(count):
        record = await server.post("/v1/tables/customers/records", {"values": {"Name": f"n{number}", "Age": number}})
        ids.append(record.json["id"])
    return answer.json["id"], ids


async def test_a_table_is_made_looked_at_changed_and_removed(serving):
    async with serving() as server:
        made = await server.post("/v1/tables", CUSTOMERS)
        assert (made.status, made.headers["location"]) == (201, made.json["url"])
        assert [field["type"] for field in made.json["fields"]] == ["text", "number", "multi_choice"]
        assert (await server.get(made.json["url"])).json == made.json
        assert (await server.get("/v1/tables/customers")).headers["etag"] == '"1"'
        patched = await server.ask("PATCH", "/v1/tables/customers", {"name": "clients"}, if_match='"1"')
        assert (patched.status, patched.json["name"], patched.headers["etag"]) == (200, "clients", '"2"')
        stale = await server.ask("PATCH", "/v1/tables/clients", {"name": "x"}, if_match='"1"')
        assert (stale.status, stale.code) == (412, "version_mismatch")
        added = await server.post("/v1/tables/clients/fields", {"name": "Mail", "type": "email"})
        assert (added.status, added.json["id"]) == (201, "field_4")
        assert [field["name"] for field in (await server.get("/v1/tables/clients/fields")).json["data"]][-1] == "Mail"
        changed = await server.ask("PATCH", "/v1/tables/clients/fields/field_4", {"name": "E-mail", "unique": True})
        assert (changed.json["name"], changed.json["indexed"]) == ("E-mail", True)
        assert (await server.ask("DELETE", "/v1/tables/clients/fields/E-mail")).status == 204
        assert (await server.ask("DELETE", "/v1/tables/clients")).status == 204
        assert (await server.get("/v1/tables/clients")).code == "table_not_found"
        assert (await server.get("/v1/tables")).json == {"data": []}


async def test_a_record_is_added_looked_at_changed_and_deleted(serving):
    async with serving() as server:
        table_id, _ = await made(server)
        added = await server.post("/v1/tables/customers/records", {"values": {"Name": "Ann", "Tags": ["b", "a"]}})
        assert added.headers["location"] == f"/v1/tables/{table_id}/records/{added.json['id']}"
        assert added.json["values"] == {"Name": "Ann", "Age": None, "Tags": ["a", "b"]}
        place = added.headers["location"]
        changed = await server.ask("PATCH", place, {"values": {"Age": "41"}}, if_match='"1"')
        assert (changed.json["values"]["Age"], changed.headers["etag"]) == (41, '"2"')
        assert (await server.ask("PATCH", place, {"values": {"Age": 42}}, if_match='"1"')).status == 412
        wrong = await server.ask("PATCH", place, {"values": {"Age": "old", "Name": None}})
        assert (wrong.status, wrong.code) == (422, "invalid_record")
        assert [error["pointer"] for error in wrong.json["errors"]] == [
            "/records/0/values/Age",
            "/records/0/values/Name",
        ][::-1]
        assert (await server.get(place)).json["version"] == 2
        assert (await server.get("/v1/tables/customers")).json["records"] == 1
        assert (await server.ask("DELETE", place, if_match='"1"')).status == 412
        assert (await server.ask("DELETE", place)).status == 204
        assert (await server.get(place)).code == "record_not_found"
        assert (await server.get(f"/v1/tables/customers/records/{NOBODY}")).status == 404


async def test_a_repeated_key_adds_no_second_record(serving):
    async with serving() as server:
        await made(server)
        body = {"values": {"Name": "Ann"}}
        first, again = [await server.post("/v1/tables/customers/records", body, idempotency_key="k") for _ in range(2)]
        assert first.json == again.json
        assert again.headers["idempotency-replayed"] == "true"
        other = await server.post("/v1/tables/customers/records", {"values": {"Name": "Bob"}}, idempotency_key="k")
        assert other.code == "idempotency_key_reused"
        assert (await server.post("/v1/tables/customers/records:count")).json == {"count": 1}


async def test_pages_are_gone_through_by_token_and_by_link(serving):
    async with serving() as server:
        _, ids = await made(server, 7)
        where = quote(json.dumps({"field": "Age", "operator": ">", "value": 0}))
        target, found = f"/v1/tables/customers/records?page_size=4&order_by=Age%20desc&filter={where}", []
        while target:
            answer = await server.get(target)
            assert answer.status == 200, answer.body
            found += [record["id"] for record in answer.json["data"]]
            target = answer.headers.get("link", "").partition(">")[0][1:]
        assert found == ids[:0:-1]
        asked = {"order_by": "Age", "page_size": 2}
        first = (await server.post("/v1/tables/customers/records:query", asked)).json
        asked["page_token"] = first["next_page_token"]
        second = (await server.post("/v1/tables/customers/records:query", asked)).json
        assert [record["id"] for record in first["data"] + second["data"]] == ids[:4]
        asked["order_by"] = "created_at"
        assert (await server.post("/v1/tables/customers/records:query", asked)).code == "bad_cursor"
        assert (await server.post("/v1/tables/customers/records:query", {"page_token": "x.y"})).code == "bad_cursor"


async def test_batches_are_whole(serving):
    async with serving() as server:
        _, ids = await made(server, 2)
        added = await server.post("/v1/tables/customers/records:batch", {"records": [{"Name": "x"}, {"Name": "y"}]})
        assert (added.status, added.json["created"], len(added.json["data"])) == (201, 2, 2)
        wrong = await server.post("/v1/tables/customers/records:batch", {"records": [{"Name": "z"}, {}]})
        assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "/records/1/values/Name")
        changes = [{"id": each, "values": {"Age": 99}} for each in ids]
        changed = await server.post("/v1/tables/customers/records:update", {"records": changes})
        assert [record["values"]["Age"] for record in changed.json["data"]] == [99, 99]
        gone = await server.post("/v1/tables/customers/records:delete", {"ids": [ids[0], NOBODY]})
        assert (gone.status, gone.code) == (404, "record_not_found")
        assert (await server.post("/v1/tables/customers/records:delete", {"ids": ids})).json == {"deleted": 2}
        assert (await server.post("/v1/tables/customers/records:count")).json == {"count": 2}


async def test_a_filter_that_cannot_be_understood_is_422_with_its_place(serving):
    async with serving() as server:
        await made(server)
        bad = {"filter": {"or": [{"field": "Age", "operator": "like", "value": 1}]}}
        for verb in ("query", "count"):
            answer = await server.post(f"/v1/tables/customers/records:{verb}", bad)
            assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/filter/or/0/operator")
        broken = await server.get("/v1/tables/customers/records?filter=%7B")
        assert (broken.status, broken.code) == (400, "bad_parameter")


async def test_strange_values_are_refused_or_kept_as_they_are(serving):
    async with serving() as server:
        await made(server)
        for text, status in (
            ('"\\ud800"', 400), ('"\\u0000"', 422), ('"' + "ä" * 100_000 + '"', 201), ('"x\\u001f\\n"', 201), ("[[1]]", 422),
            ("1e999", 400), ("9" * 5000, 422), ('{"a":1}', 422), ("true", 201), ('"\'; DROP TABLE records; --"', 201),
        ):  # fmt: skip
            body = f'{{"values":{{"Name":{text}}}}}'.encode()
            answer = await server.ask("POST", "/v1/tables/customers/records", body)
            assert answer.status == status or (status >= 400 and answer.status in (400, 422)), (
                text[:20],
                answer.body[:200],
            )
            if answer.status == 201 and text.startswith('"'):
                assert answer.json["values"]["Name"] == json.loads(text)
        for name in ("%00", "..%2f..", "a%27b", "%F0%9F%98%80", "x" * 5000):
            assert (await server.get(f"/v1/tables/{name}")).status in (404, 400, 422)


async def test_a_change_of_a_records_version_can_be_repeated_under_its_key(serving):
    async with serving() as server:
        _, (record_id,) = await made(server, 1)
        target, body = f"/v1/tables/customers/records/{record_id}", {"values": {"Name": "Bob"}}
        first, again = [await server.ask("PATCH", target, body, if_match='"1"', idempotency_key="k") for _ in range(2)]
        assert (first.status, first.json) == (again.status, again.json)
        assert (first.status, again.headers["idempotency-replayed"]) == (200, "true")
        assert (await server.ask("PATCH", target, body, if_match='"1"')).code == "version_mismatch"
        await server.ask("DELETE", target)
        gone = await server.ask("PATCH", target, body, if_match='"1"', idempotency_key="k")
        assert gone.code == "record_not_found"
