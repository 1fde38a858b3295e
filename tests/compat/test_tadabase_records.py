"""Data tables and records on the Tadabase surface: lists with filters and pages, and every change."""

from __future__ import annotations

from urllib.parse import quote

import msgspec
import pytest
from tests.web.access_kit import bearer, first_key, second
from tests.web.kit import NOBODY

from headway.features.tables.definitions import Tables
from headway.features.tables.records import Records
from headway.protocol.tables import CreateTable

TABLE = {
    "name": "Customers",
    "fields": [
        {"name": "Name", "required": True},
        {"name": "Status", "type": "choice", "choices": ["Open", "Closed"], "indexed": True},
        {"name": "Orders", "type": "number"},
        {"name": "Seen", "type": "date_time"},
    ],
}
PEOPLE = (("Ada", "Open", 3), ("Bob", "Closed", 10), ("Eve", "Open", 20))


async def made(server, organisation=1):
    """The table with three people; return the path of its records."""
    asked = msgspec.convert(TABLE, CreateTable)
    table = await server.service.of(organisation).get(Tables).create(asked)
    return f"/api/v1/data-tables/{table.id}"


async def filled(server):
    path = await made(server)
    ids = []
    for name, status, orders in PEOPLE:
        answer = await server.post(f"{path}/records", {"field_1": name, "field_2": status, "field_3": orders})
        assert (answer.status, answer.json["type"]) == (200, "success"), answer.body
        ids.append(answer.json["recordId"])
    return path, ids


def filters(*items, condition="AND"):
    pairs = [("filters[condition]", condition)]
    for index, item in enumerate(items):
        pairs += [
            (f"filters[items][{index}][{name}]", value)
            for name, value in zip(("field_id", "operator", "val"), item, strict=False)
        ]
    return "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)


async def test_tables_and_their_fields_are_listed(serving):
    async with serving() as server:
        path = await made(server)
        listed = (await server.get("/api/v1/data-tables")).json
        assert listed == {
            "type": "success", "data_tables": [{"id": path.rpartition("/")[2], "name": "Customers"}], "total_items": 1,
        }  # fmt: skip
        found = (await server.get(f"{path}/fields")).json
        assert [(field["slug"], field["name"], field["type"]) for field in found["fields"]] == [
            ("field_1", "Name", "text"), ("field_2", "Status", "choice"), ("field_3", "Orders", "number"),
            ("field_4", "Seen", "date_time"),
        ]  # fmt: skip
        full = (await server.get(f"{path}/full-fields-info")).json["fields"]
        assert full[1]["choices"] == ["Open", "Closed"]
        assert full[0]["required"] is True


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("", ["Ada", "Bob", "Eve"]),
        (filters(("field_2", "is", "Open")), ["Ada", "Eve"]),
        (filters(("field_2", "is not", "Open")), ["Bob"]),
        (filters(("field_1", "contains", "b")), ["Bob"]),
        (filters(("field_3", "is greater than", "5")), ["Bob", "Eve"]),
        (filters(("field_2", "is", "Open"), ("field_3", "is", "20")), ["Eve"]),
        (filters(("field_2", "is", "Closed"), ("field_3", "is", "3"), condition="OR"), ["Ada", "Bob"]),
        (filters(("field_4", "is blank")), ["Ada", "Bob", "Eve"]),
        ("?limit=2", ["Ada", "Bob"]),
        ("?limit=2&page=2", ["Eve"]),
        ("?limit=2&page=3", []),
    ],
)
async def test_records_are_found(asked, names, serving):
    async with serving() as server:
        path, ids = await filled(server)
        answer = await server.get(f"{path}/records{asked}")
        assert (answer.status, answer.json["type"]) == (200, "success"), answer.body
        assert [item["field_1"] for item in answer.json["items"]] == names
        assert all(item["id"] in ids for item in answer.json["items"])
        assert answer.json["total_items"] == (len(names) if "filters" in asked else 3)


async def test_a_record_is_made_changed_and_deleted_by_every_kind_of_body(serving):
    async with serving() as server:
        path, _ = await filled(server)
        form = "application/x-www-form-urlencoded"
        sent = await server.ask("POST", f"{path}/records", b"field_1=Zoe&field_3=7", content_type=form)
        one = f"{path}/records/{sent.json['recordId']}"
        assert (await server.get(one)).json["item"] == {
            "id": sent.json["recordId"], "field_1": "Zoe", "field_2": None, "field_3": 7, "field_4": None,
        }  # fmt: skip
        assert (await server.ask("PUT", one, {"field_2": "Closed"})).json["msg"] == "Record updated successfully"
        assert (await server.post(one, {"field_4": "2026-12-01 10:00:00"})).status == 200
        item = (await server.get(one)).json["item"]
        assert (item["field_1"], item["field_2"], item["field_4"]) == ("Zoe", "Closed", "2026-12-01 10:00:00")
        assert (await server.ask("DELETE", one)).json == {"type": "success", "msg": "Record deleted successfully"}
        assert (await server.get(one)).status == 404


async def test_times_of_records_are_those_of_the_organisations_zone(serving):
    async with serving() as server:
        party = await first_key(server)
        other = await second(server, party, zone="Asia/Kathmandu")
        path = await made(server, 2)
        sent = await server.post(
            f"{path}/records", {"field_1": "a", "field_4": "2026-12-01 10:00:00"}, **bearer(other.key)
        )
        shown = (await server.get(f"{path}/records/{sent.json['recordId']}", **bearer(other.key))).json["item"]
        assert shown["field_4"] == "2026-12-01 10:00:00"
        _, record = await server.service.of(2).get(Records).get(path.rpartition("/")[2], sent.json["recordId"])
        assert record.values["field_4"] == "2026-12-01T04:15:00.000Z"
        for target in (path + "/records", path + "/fields", f"{path}/records/{sent.json['recordId']}"):
            assert (await server.get(target, **bearer(party.key))).status == 404


async def test_what_does_not_fit_is_said_by_field(serving):
    async with serving() as server:
        path, ids = await filled(server)
        bad = filters(("field_9", "is", "x"))
        for method, target, body, status, named in (
            ("POST", f"{path}/records", {"field_2": "Lost", "field_3": "x"}, 422, {"field_1", "field_2", "field_3"}),
            ("POST", f"{path}/records", {"field_9": 1}, 422, {"field_9", "field_1"}),
            ("PUT", f"{path}/records/{ids[0]}", {"field_3": "x"}, 422, {"field_3"}),
            ("PUT", f"{path}/records/{NOBODY}", {"field_3": 1}, 404, None),
            ("GET", f"{path}/records/{NOBODY}", None, 404, None),
            ("DELETE", f"{path}/records/{NOBODY}", None, 404, None),
            ("GET", f"/api/v1/data-tables/{NOBODY}/records", None, 404, None),
            ("GET", "/api/v1/data-tables/nobodys/fields", None, 404, None),
            ("GET", f"{path}/records{bad}", None, 422, None),
            ("GET", f"{path}/records{filters(('field_1', 'resembles', 'x'))}", None, 422, None),
            (
                "GET",
                f"{path}/records{filters(('field_1', 'is', 'x'), condition='XOR')}",
                None,
                422,
                {"filters[condition]"},
            ),
            ("GET", f"{path}/records?filters=x", None, 422, {"filters"}),
            ("GET", f"{path}/records?filters[items][0]=x", None, 422, {"filters[items][0]"}),
            ("GET", f"{path}/records?limit=101", None, 422, {"limit"}),
            ("GET", f"{path}/records?page=0", None, 422, {"page"}),
        ):
            answer = await server.ask(method, target, body)
            said = answer.json
            assert (answer.status, said["type"], said["status"]) == (status, "error", status), (target, said)
            assert ("errors" in said) == (status == 422), said
            if named is not None:
                assert set(said["errors"]) == named
