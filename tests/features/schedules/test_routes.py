"""The API of schedules: what is answered, and that a mistake is named by its field."""

from __future__ import annotations

import pytest
from tests.web import kit
from tests.web.kit import NOBODY

from headway.features.schedules.scheduler import Scheduler

NIGHTLY = {"name": "Nightly / backup", "task": "backup", "occurrence": "30 2 * * *", "timezone": "Europe/Berlin"}
PATH = "/v1/schedules/Nightly%20%2F%20backup"
HOUR_MS = 3_600_000


async def test_a_schedule_is_made_found_by_id_and_name_changed_and_removed(serving):
    async with serving() as server:
        made = await server.post(
            "/v1/schedules", {**NIGHTLY, "jitter": "10m", "input": {"a": [1]}, "labels": {"x": "y"}}
        )
        assert made.status == 201
        assert made.headers["location"] == made.json["url"] == f"/v1/schedules/{made.json['id']}"
        assert made.headers["etag"] == '"1"'
        shown = made.json
        assert (shown["object"], shown["state"], shown["jitter"], shown["input"]) == (
            "schedule",
            "active",
            "10m",
            {"a": [1]},
        )
        assert shown["explanation"] == "every day at 02:30, Europe/Berlin"
        assert shown["next_slot_at"] == "2027-01-16T01:30:00.000Z"
        assert [shown["problem"], shown["priority"]] == [None, None]
        assert (await server.get(PATH)).json == (await server.get(shown["url"])).json == shown
        patched = await server.ask("PATCH", PATH, {"occurrence": "@hourly", "labels": {}}, if_match='"1"')
        assert (patched.status, patched.headers["etag"]) == (200, '"2"')
        assert (patched.json["occurrence"], patched.json["labels"]) == ("0 * * * *", {})
        assert (await server.ask("PATCH", PATH, {"priority": 1}, if_match='"1"')).code == "version_mismatch"
        assert (await server.ask("DELETE", PATH, if_match='"1"')).status == 412
        assert (await server.ask("DELETE", PATH)).status == 204
        assert (await server.get(PATH)).code == "schedule_not_found"


async def test_a_name_that_is_taken_is_409_and_what_is_only_validated_takes_none(serving):
    async with serving() as server:
        assert (await server.post("/v1/schedules", {**NIGHTLY, "validate_only": True})).status == 200
        first = await server.post("/v1/schedules", NIGHTLY)
        again = await server.post("/v1/schedules", NIGHTLY)
        assert (again.status, again.code, again.json["schedule_id"]) == (409, "schedule_exists", first.json["id"])


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("occurrence", "0 25 * * *", "hour"), ("occurrence", "FREQ=WEEKLY;BYDAY=XX", "BYDAY"), ("occurrence", "Fortnightly", None),
        ("timezone", "Europe/Berlim", None), ("jitter", "a while", None), ("jitter", "3d", None), ("starts_at", "later", None),
        ("catch_up_window", "30y", None), ("late_after", "30y", None), ("overlap", "wait", None), ("queue_max", 0, None),
        ("task", "nope", None), ("name", NOBODY, None), ("ends_at", "2020-01-01T00:00:00Z", None), ("labels", {"slot": "x"}, None),
    ],
)  # fmt: skip
async def test_a_mistake_is_422_and_its_field_is_named(field, value, part):
    async with kit.serving() as server:
        answer = await server.post("/v1/schedules", {**NIGHTLY, field: value})
        assert answer.status == 422, answer.body
        if field == "task":
            assert answer.code == "unknown_task"
            return
        (error,) = answer.json["errors"]
        assert error["pointer"] == ("/labels/slot" if field == "labels" else f"/{field}")
        assert error.get("part") == part
        assert error["message"]


async def test_the_next_slots_are_shown_before_anything_is_made():
    async with kit.serving() as server:
        asked = {"occurrence": "@daily", "timezone": "Europe/Berlin", "after": "2026-10-24T12:00:00Z", "count": 2}
        found = (await server.post("/v1/schedules:preview", asked)).json
        assert (found["occurrence"], found["explanation"]) == ("0 0 * * *", "every day at 00:00, Europe/Berlin")
        assert [slot["local"] for slot in found["data"]] == ["2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"]
        refused = await server.post("/v1/schedules:preview", {**asked, "timezone": "Nowhere"})
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/timezone")


async def test_a_trigger_answers_with_the_run_and_says_if_another_is_unfinished(serving):
    async with serving() as server:
        schedule_id = (await server.post("/v1/schedules", NIGHTLY)).json["id"]
        first = await server.post(f"{PATH}:trigger", {"reason": "now"}, idempotency_key="a")
        assert (first.status, first.json["schedule_id"], first.json["run_type"]) == (202, schedule_id, "schedule")
        assert first.headers["location"] == f"/v1/runs/{first.json['id']}"
        again = await server.post(f"{PATH}:trigger", {"reason": "now"}, idempotency_key="a")
        assert again.json["id"] == first.json["id"]
        busy = await server.post(f"{PATH}:trigger")
        assert (busy.status, busy.code) == (409, "schedule_busy")
        waits = (await server.post(f"{PATH}:trigger", {"overlap": "queue"})).json
        assert (waits["state"], waits["blocked_on"]) == ("suspended", [{"kind": "schedule"}])


async def test_what_became_of_slots_comes_in_pages_and_can_be_back_filled(serving):
    async with serving() as server:
        made = await server.post("/v1/schedules", {**NIGHTLY, "occurrence": "Hourly", "overlap": "allow"})
        server.clock.advance(5 * HOUR_MS)
        await server.service.part(Scheduler).settle_due()
        page = await server.get(f"{PATH}/slots?page_size=2")
        assert page.json["has_more"]
        assert "page_token" in page.headers["link"]
        assert [slot["outcome"] for slot in page.json["data"]] == ["ran", "missed"]
        rest = await server.get(f"{PATH}/slots?page_token={page.json['next_page_token']}")
        assert [slot["why"] for slot in rest.json["data"]] == ["newer"] * 3
        assert (rest.json["next_page_token"], rest.json["has_more"]) == ("", False)
        other = await server.get(f"{PATH}/slots?outcome=ran&page_token={page.json['next_page_token']}")
        assert (other.status, other.code) == (400, "bad_cursor")
        span = {"from": rest.json["data"][-1]["slot"], "to": page.json["data"][0]["slot"]}
        planned = (await server.post(f"{PATH}:backfill", {**span, "dry_run": True})).json
        assert [slot["run_id"] for slot in planned["data"]] == [None] * 4
        filled = (await server.post(f"{PATH}:backfill", span)).json
        assert [slot["slot"] for slot in filled["data"]] == [slot["slot"] for slot in planned["data"]]
        run = (await server.get(f"/v1/runs/{filled['data'][0]['run_id']}")).json
        assert (run["schedule_id"], run["labels"]) == (made.json["id"], {"slot": span["from"]})
        assert (await server.get(f"{PATH}/slots?outcome=missed")).json["data"] == []
        text = (await server.get("/metrics")).body.decode()
        assert 'headway_slots_total{outcome="missed",why="newer"} 4.0' in text


async def test_lists_come_by_name_and_of_a_task(serving):
    async with serving("backup", "report") as server:
        for number in range(5):
            task = "report" if number % 2 else "backup"
            await server.post("/v1/schedules", {**NIGHTLY, "name": f"s{number}", "task": task, "paused": number == 0})
        page = (await server.get("/v1/schedules?page_size=3")).json
        rest = (await server.get(f"/v1/schedules?page_token={page['next_page_token']}")).json
        assert [shown["name"] for shown in page["data"] + rest["data"]] == [f"s{number}" for number in range(5)]
        assert page["data"][0]["state"] == "paused"
        assert [shown["name"] for shown in (await server.get("/v1/schedules?task=report")).json["data"]] == ["s1", "s3"]
        foreign = await server.get(f"/v1/schedules?task=report&page_token={page['next_page_token']}")
        assert foreign.code == "bad_cursor"


async def test_pause_and_resume_can_be_repeated(serving):
    async with serving() as server:
        await server.post("/v1/schedules", NIGHTLY)
        for _ in range(2):
            answer = await server.post(f"{PATH}:pause", {"reason": "quiet"})
            assert (answer.json["state"], answer.json["next_slot_at"], answer.headers["etag"]) == (
                "paused",
                None,
                '"2"',
            )
        coming = (await server.get(f"{PATH}/preview?count=1")).json["data"]
        for _ in range(2):
            answer = await server.post(f"{PATH}:resume", {"catch_up": "skip"})
            assert (answer.json["state"], answer.headers["etag"]) == ("active", '"3"')
        assert answer.json["next_slot_at"] == coming[0]["slot"]
