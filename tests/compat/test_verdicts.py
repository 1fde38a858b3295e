"""Values that a surface or a store could stumble over, in every field of both surfaces: one verdict on both stores, never a
5xx, and always an answer in the shape of the surface that was asked.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from tests.web.kit import EVERY_SURFACE, NOBODY, routes_of
from tests.web.verdicts import HOLE, JSON, NUMBERS, OWN, TEXTS, Both, Side

SURFACES = routes_of()
MALFORMED = {
    "nothing but a bracket": b"{", "NaN": b'{"a":NaN}', "infinity": b'{"a":-Infinity}', "too large": b'{"a":1e999}',
    "twice": b'{"a":1,"a":2}', "twice within": b'{"b":{"a":1,"a":2}}', "a lone surrogate": b'{"a":"\\ud800"}',
    "a surrogate in a name": b'{"\\udc00":1}', "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-32": '{"a":1}'.encode("utf-32"), "a mark of order": b'\xef\xbb\xbf{"a":1}', "trailing": b'{"a":1}x',
    "two": b'{"a":1}{"a":2}', "a trailing NUL": b'{"a":1}\0', "a bare NUL": b'{"a":"\0"}', "a control sign": b'{"a":"\x1f"}',
    "no UTF-8": b'{"a":"\xff"}', "overlong": b'{"a":"\xc0\x80"}', "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "single quotes": b"{'a':1}", "a comment": b'{"a":1/**/}', "a comma too many": b'{"a":1,}', "plus": b'{"a":+1}',
    "a leading zero": b'{"a":01}', "hex": b'{"a":0x1}', "a word": b'{"a":undefined}', "a form": b"a=1", "only space": b"{ ",
}  # fmt: skip
"""What is no JSON as RFC 8259 has it, or none that means one thing only."""
TOLERATED = {"5,000 digits": b'{"a":' + b"9" * 5000 + b"}", "2^63": b'{"a":%d}' % 2**63, "NUL": b'{"a":"\\u0000"}'}
"""What is JSON, and whether it is taken is the task's or the table's affair."""
FORM = "application/x-www-form-urlencoded"
TABLE = {
    "name": "things",
    "fields": [
        {"name": "Name"}, {"name": "Kind", "type": "choice", "choices": ["a", "b"], "indexed": True},
        {"name": "Amount", "type": "number"}, {"name": "Seen", "type": "date_time"}, {"name": "On", "type": "boolean"},
        {"name": "Mail", "type": "email", "unique": True}, {"name": "Day", "type": "date"},
    ],
}  # fmt: skip
FIELDS = [f"field_{number}" for number in range(1, 8)]
RECORDS, RECORD = "/api/v1/data-tables/TABLE/records", "/api/v1/data-tables/TABLE/records/RECORD"
INPUTS = [HOLE, {"a": HOLE}, {"a": [{"b": HOLE}]}, {HOLE: 1}]
BODIES = {
    "run": ("POST", "/api/v1/tasks/run/backup", INPUTS),
    "insert": ("POST", RECORDS, [HOLE, {HOLE: 1}, *({field: HOLE} for field in FIELDS)]),
    "update": ("PUT", RECORD, [HOLE, {HOLE: 1}, *({field: HOLE} for field in FIELDS)]),
    "command": ("POST", "/api/v1/backup", INPUTS),
    "put": ("PUT", "/api/v1/fix", INPUTS),
}  # fmt: skip
WRITING = [
    ("POST", "/api/v1/tasks/run/backup"), ("POST", RECORDS), ("PUT", RECORD), ("POST", RECORD), ("POST", "/api/v1/backup"),
    ("PUT", "/api/v1/fix"),
]  # fmt: skip
TERM = "filters[items][0]"
TARGETS = [
    *(("GET", f"/api/v1/tasks/{list_}?{name}={HOLE}") for list_ in ("status", "status/task/backup", "history")
      for name in ("limit", "cursor", "status", "task_id", "x", HOLE)),
    *(("GET", f"/api/v1/tasks/status/{what}/{HOLE}") for what in ("queue", "task")),
    *(("POST", f"/api/v1/tasks/{what}/{HOLE}") for what in ("run", "terminate/queue", "terminate/task")),
    *(("GET", f"/api/v1/data-tables/{HOLE}/{what}") for what in ("fields", "full-fields-info", "records", "records/RECORD")),
    *((method, f"/api/v1/data-tables/TABLE/records/{HOLE}") for method in ("GET", "POST", "PUT", "DELETE")),
    *(("GET", f"{RECORDS}?{name}={HOLE}") for name in ("limit", "page", "filters", "filters[condition]", TERM, f"{TERM}[x]")),
    ("GET", f"{RECORDS}?{TERM}[field_id]={HOLE}&{TERM}[val]=1"),
    *(("GET", f"{RECORDS}?{TERM}[field_id]={field}&{TERM}[operator]={operator}&{TERM}[val]={HOLE}")
      for field in FIELDS for operator in ("is", "is%20not", "contains", "is%20greater%20than", "is%20any%20of")),
    ("GET", f"{RECORDS}?{TERM}[field_id]=field_1&{TERM}[operator]={HOLE}&{TERM}[val]=1"),
    *((method, f"/api/v1/{HOLE}") for method in ("GET", "POST", "PUT")),
    *(("GET", f"{path}/{HOLE}") for path in ("/api/v1/tasks", "/api/v1/task", "/api/v1/get-task-status", "/get-task-status")),
    *(("GET", f"{path}?{name}={HOLE}") for path in ("/api/transactions/task", "/api/task", "/api/system/tasks")
      for name in ("task_id", "id", "token", "x")),
]  # fmt: skip
ODD_ESCAPES = ("%ff", "%ed%a0%80", "%c0%80", "%", "%2e%2e%2f", "%00", "[", "]", "a[b]", "&&", "=", "+")
OURS = re.compile(rb'"next_cursor":"[^"]*"|"(?:started|finished)":\d+')


class Surface(Side):
    """A server with both surfaces, and what they are asked about."""

    async def set(self):
        await self.server.declare("fix")
        await self.server.declare("backup", "headway.bulk")
        await super().set()
        made = await self.server.post("/v1/tables", TABLE)
        self.table = made.json["id"] if made.status == 201 else self.table
        added = await self.server.post(RECORDS.replace("TABLE", self.table), {"field_1": "first"})
        self.record = added.json["recordId"]

    def named(self, text):
        return super().named(text).replace("TABLE", self.table).replace("RECORD", self.record)

    async def answer(self, method, target, body=None, **headers):
        return await self.server.ask(method, self.named(target), body, **headers)

    async def counts(self):
        runs = (await self.server.get("/v1/runs:count")).json["total"]
        return runs, (await self.server.get("/v1/tables/things")).json["records"]


class Surfaces(Both):
    def __init__(self, url):
        super().__init__(url, EVERY_SURFACE, Surface)

    async def agree(self, what, method, target, body=None, **headers):
        """Ask both; they must say the same, in the shape of a surface. Return the status."""
        answers = [await side.answer(method, target, body, **headers) for side in self.sides]
        for answer in answers:
            assert answer.status < 500, (what, answer.body[:500])
            assert shaped(answer), (what, answer.status, answer.body[:500])
        one, other = [(each.status, OURS.sub(b"", OWN.sub(b"OWN", each.body))) for each in answers]
        assert one == other, what
        return one[0]


def shaped(answer):
    """Whether an answer is one of Tadabase's or CloudCoin's, of any generation."""
    assert answer.headers["content-type"] == "application/json", answer.headers
    said, refused = answer.json, answer.status >= 400
    if "type" in said:
        fits = said["type"] == ("error" if refused else "success")
        if refused:
            return (
                fits
                and said["status"] == answer.status
                and said["msg"]
                and ("errors" in said) == (answer.status == 422)
            )
        return fits
    if not refused:
        return said["status"] != "error"
    task = said.get("payload", said)
    goes_on = answer.status == 429  # a limit says nothing about the task
    fits = task["status"] == "unavailable" if goes_on else task["status"] in ("error", "failed")
    return (
        fits and (said is task or said["status"] == "error") and task["progress"] == (0 if goes_on else 100)
        and isinstance(task["code"], int) and bool(task["message"])
        and task["data"] == {name: task[name] for name in ("code", "message", "details")}
    )  # fmt: skip


@pytest.fixture
def both(postgres_store):
    """Serve both surfaces from both stores at once: an async context manager."""
    return lambda: Surfaces(postgres_store)


@pytest.mark.parametrize("name", BODIES)
async def test_a_value_in_a_body_has_one_verdict_on_both_stores(both, name):
    method, target, bodies = BODIES[name]
    async with both() as sides:
        await sides.set()
        for body in bodies:
            for what, value in JSON.items():
                written = json.dumps(body).replace(f'"{HOLE}"', value).encode()
                await sides.agree((body, what), method, target, written)
        await sides.hold()


@pytest.mark.parametrize(("method", "target"), [WRITING[0], WRITING[2]])
async def test_a_value_in_a_form_has_one_verdict_on_both_stores(both, method, target):
    async with both() as sides:
        await sides.set()
        for field in (*FIELDS[:4], f"field_1[{HOLE}]", HOLE):
            for what, value in (TEXTS | NUMBERS).items():
                written = f"{field}={HOLE}".replace(HOLE, quote(value, safe="")).encode()
                await sides.agree((field, what), method, target, written, content_type=FORM)
        await sides.hold()


@pytest.mark.parametrize(("method", "target"), WRITING)
async def test_a_body_that_is_no_json_is_refused_and_nothing_of_it_is_kept(both, method, target):
    async with both() as sides:
        await sides.set()
        before = [await side.counts() for side in sides.sides]
        for what, body in MALFORMED.items():
            status = await sides.agree((target, what), method, target, body, content_type="application/json")
            assert status in (400, 422), (what, status)
        assert [await side.counts() for side in sides.sides] == before
        for what, body in TOLERATED.items():
            await sides.agree((target, what), method, target, body)
        await sides.hold()


@pytest.mark.parametrize("part", range(6))
async def test_a_value_in_a_url_has_one_verdict_on_both_stores(both, part):
    async with both() as sides:
        await sides.set()
        for method, target in TARGETS[part::6]:
            for what, value in (TEXTS | NUMBERS).items():
                await sides.agree((target, what), method, target.replace(HOLE, quote(value, safe="")))
            for odd in ODD_ESCAPES:
                await sides.agree((target, odd), method, target.replace(HOLE, odd))
        await sides.hold()


@pytest.mark.parametrize(
    ("method", "target"), [*WRITING, ("GET", f"/api/v1/tasks/status/queue/{NOBODY}"), ("GET", "/api/task?id=x")]
)
async def test_a_value_in_a_header_has_one_verdict_on_both_stores(both, method, target):
    async with both() as sides:
        await sides.set()
        body = b"{}" if method != "GET" else None
        for header in (
            "idempotency_key",
            "content_type",
            "content_encoding",
            "accept",
            "origin",
            "x_tadabase_queue_equation",
        ):
            for what, value in (TEXTS | NUMBERS).items():
                if value.isascii() and len(value) < 5000:
                    await sides.agree((header, what), method, target, body, **{header: value})
        await sides.hold()
