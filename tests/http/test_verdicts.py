"""Values that a store could stumble over, in every field that it may meet: one verdict on both stores, and never a 5xx.

What is malformed, too large or not text is refused before any store sees it; what is taken is kept and shown alike.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from tests.http import kit
from tests.rows import verify as verify_sqlite
from tests.rows import verify_postgres
from tests.world import START, opened

from headway.app.features import NATIVE_SURFACE
from headway.clock import ManualClock
from headway.wire import workers as wire

TEXTS = {
    "nothing": "", "NUL": "\0", "NUL within": "a\0b", "DEL": "a\x7f", "C1": "a\x85", "a line break": "a\nb",
    "astral": "\U0001f600" * 60, "no character": "a\uffff", "a mark of order": "\ufeffa", "line separator": "\u2028",
    "combining": "e\u0301", "right to left": "\u202eabc", "quotes": "';\"--\\", "a bind": ":id %s %(id)s %", "a macro": "@ids {}",
    "a pattern": "%_*", "an escape": "\\u0000", "copy's null": "\\N", "null": "null", "201": "x" * 201, "1,001": "x" * 1001,
    "255 of 4 bytes": "\U0001f600" * 255, "40,000": "x" * 40_000, "a time": "9999-12-31T23:59:59Z",
    "the first time": "0001-01-01T00:00:00Z", "a long time": "106751991167d", "too long a time": "9" * 38 + "d",
    "an id": kit.NOBODY, "no id": kit.NOBODY[:-1] + "g",
}  # fmt: skip
"""As they are; each is written into a body or a URL."""
NUMBERS = {
    "zero": "0", "minus zero": "-0", "minus one": "-1", "2^31": str(2**31), "2^53": str(2**53), "2^63-1": str(2**63 - 1),
    "2^63": str(2**63), "-2^63": str(-(2**63)), "-2^63-1": str(-(2**63) - 1), "2^64": str(2**64), "5,000 digits": "9" * 5000,
    "a fraction": "0.5", "a whole fraction": "1.0", "an exponent": "1e3", "the largest": "1.7976931348623157e308",
    "too large": "1e999", "the smallest": "5e-324", "too small": "1e-400", "NaN": "NaN", "infinity": "-Infinity",
}  # fmt: skip
ODD = {
    "a high surrogate": '"\\ud800"', "a low surrogate": '"\\udc00"', "surrogates the wrong way": '"\\udc00\\ud800"',
    "a surrogate in a name": '{"\\ud800":1}', "NUL in a name": '{"\\u0000":"\\u0000"}', "null": "null", "true": "true",
    "a list": '["\\u0000"]', "an object": "{}", "twice": '{"a":1,"a":2}', "deep": "[" * 500 + "]" * 500,
}  # fmt: skip
JSON = {name: json.dumps(text) for name, text in TEXTS.items()} | NUMBERS | ODD
HOLE = "HOLE"
"""Where a value goes. RUN, WORKER and TOKEN are those of the server that is asked."""

SPEC = {"task": "backup"}
PLAN = {
    "name": "n",
    "task": "backup",
    "occurrence": "Daily",
    "starts_at": "2027-02-01T00:00:00Z",
    "validate_only": True,
}
TASK = {"name": "other"}
STARTS = [
    {"task": HOLE}, *({**SPEC, name: HOLE} for name in (
        "input", "name", "priority", "queue", "key", "run_at", "delay", "parent_id", "max_attempts", "retention", "protect",
    )),
    {**SPEC, "input": {"a": [HOLE]}}, {**SPEC, "input": {HOLE: 1}}, {**SPEC, "labels": {"a": HOLE}},
    {**SPEC, "labels": {HOLE: "a"}}, {**SPEC, "dedupe": {"key": HOLE}},
    {**SPEC, "dedupe": {"key": "k", "scope": "window", "ttl": HOLE}}, {"task": "keyed", "input": {"who": HOLE}},
]  # fmt: skip
REPORTS = [
    {"type": "progress", "done": HOLE}, {"type": "progress", "done": 1, "total": HOLE},
    {"type": "progress", "done": 1, "message": HOLE}, {"type": "log", "message": HOLE},
    {"type": "log", "message": "m", "fields": {"a": HOLE}}, {"type": "log", "message": "m", "fields": {HOLE: 1}},
    {"type": "result", "value": HOLE}, {"type": "result", "value": 1, "name": HOLE}, {"type": "step", "name": HOLE, "value": 1},
    {"type": "step", "name": "s", "value": HOLE}, {"type": "child", "name": HOLE, "run": SPEC},
    {"type": "child", "name": "c", "run": {**SPEC, "key": HOLE}}, {"type": "child", "name": "c", "run": {"task": HOLE}},
    {"type": "token", "name": HOLE}, {"type": "succeeded", "output": HOLE}, {"type": "errored", "error": {"code": HOLE}},
    {"type": "errored", "error": {"type": HOLE}}, {"type": "errored", "error": {"message": HOLE}},
    {"type": "errored", "error": {"details": HOLE}}, {"type": "errored", "error": {}, "retry_after": HOLE},
    {"type": "suspended", "blockers": [{"kind": "signal", "name": HOLE}]},
    {"type": "suspended", "blockers": [{"kind": "signal", "name": "s", "number": HOLE}]},
    {"type": "suspended", "blockers": [{"kind": "run", "run_id": HOLE}]},
    {"type": "suspended", "blockers": [], "timeout": HOLE}, {"type": "slept", "until": HOLE},
]  # fmt: skip


def report(said):
    return {"worker_id": "WORKER", "reports": [{"run_id": "RUN", "epoch": 1, **said}]}


FILTERS = [
    *({name: [HOLE]} for name in ("state", "task", "queue")), {"labels": {"a": HOLE}}, {"labels": {HOLE: "a"}},
    *({name: HOLE} for name in (
        "parent_id", "root_id", "key", "created_after", "created_before", "finished_after", "finished_before", "order_by",
        "page_size", "page_token",
    )),
]  # fmt: skip
BODIES = {
    "start": ("POST", "/v1/runs", STARTS),
    "batch": ("POST", "/v1/runs:batch", [{"runs": [SPEC, {**SPEC, "key": HOLE}]}, {"runs": [{**SPEC, "name": HOLE}], "atomic": True}]),
    "patch": ("PATCH", "/v1/runs/RUN", [
        *({name: HOLE} for name in ("name", "priority", "queue", "run_at", "retention")),
        {"labels": {"a": HOLE}}, {"labels": {HOLE: "a"}},
    ]),
    "terminate": ("POST", "/v1/runs/RUN:terminate", [{name: HOLE} for name in ("reason", "actor", "grace")]),
    "suspend": ("POST", "/v1/runs/RUN:suspend", [{"reason": HOLE}, {"actor": HOLE}]),
    "signal": ("POST", "/v1/runs/RUN:signal", [{"name": HOLE}, {"name": "s", "payload": HOLE}]),
    "complete": ("POST", "/v1/tokens/TOKEN:complete", [{"value": HOLE}, {"value": {"a": [HOLE]}}]),
    "query": ("POST", "/v1/runs:query", FILTERS),
    "bulk": ("POST", "/v1/runs:bulk", [{"filter": {"key": HOLE}, "action": "terminate", "dry_run": True},
                                      {"filter": {"labels": {"a": HOLE}}, "action": "terminate"},
                                      {"filter": {}, "action": "terminate", "reason": HOLE}]),
    "register": ("POST", "/v1/workers", [
        *({name: HOLE} for name in ("name", "host", "pid", "version", "capacity")), {"queues": [HOLE]},
        *({"tasks": [{**TASK, name: HOLE}]} for name in (
            "name", "version", "description", "queue", "priority", "max_crashes", "timeout", "grace", "concurrency", "key",
        )),
        {"tasks": [{**TASK, "retry": {"max_attempts": HOLE}}]}, {"tasks": [{**TASK, "retry": {"factor": HOLE}}]},
        {"tasks": [{**TASK, "retry": {"do_not_retry": [HOLE]}}]}, {"tasks": [{**TASK, "rate": {"limit": HOLE, "period": "1s"}}]},
        {"tasks": [{**TASK, "rate": {"limit": 1, "period": HOLE}}]}, {"tasks": [{**TASK, "input_schema": {"const": HOLE}}]},
    ]),
    "claim": ("POST", "/v1/leases:claim", [{"worker_id": HOLE}, {"worker_id": "WORKER", "max": HOLE},
                                           {"worker_id": "WORKER", "rooms": {"thread": HOLE}}]),
    "report": ("POST", "/v1/leases:report", [*map(report, REPORTS), report({"type": "released", "run_id": HOLE}),
                                             report({"type": "released", "epoch": HOLE})]),
    "heartbeat": ("POST", "/v1/leases:report", [{"worker_id": HOLE}, {"worker_id": "WORKER", "held": [[HOLE, 1]]},
                                                {"worker_id": "WORKER", "held": [["RUN", HOLE]]}]),
    "queue": ("PATCH", "/v1/queues/default", [{"concurrency": HOLE}]),
    "schedule": ("POST", "/v1/schedules", [
        *({**PLAN, name: HOLE} for name in (
            "name", "task", "occurrence", "timezone", "starts_at", "ends_at", "overlap", "queue_max", "catch_up", "catch_up_max",
            "catch_up_window", "late_after", "jitter", "input", "key", "priority", "queue", "max_attempts", "description",
        )),
        {**PLAN, "labels": {"a": HOLE}}, {**PLAN, "labels": {HOLE: "a"}}, {"name": HOLE, "task": "backup", "occurrence": "Daily"},
    ]),
    "fire": ("POST", "/v1/schedules:preview", [
        {"occurrence": "Daily", "count": 1, name: HOLE} for name in ("timezone", "after", "starts_at", "count", "occurrence")
    ]),
}  # fmt: skip

CHANGING = {"batch", "patch", "terminate", "suspend", "signal", "complete", "bulk", "claim", "report", "queue"}
"""Where the next value needs a run to which nothing was done."""

URLS = {
    "list": [f"/v1/runs?{name}={HOLE}" for name in (
        "state", "task", "queue", "label.a", "parent_id", "root_id", "key", "created_after", "finished_before", "order_by",
        "page_size", "page_token",
    )] + [f"/v1/runs?label.{HOLE}=a"],
    "count": [f"/v1/runs:count?{name}={HOLE}" for name in ("key", "task", "group_by", "label.a", "created_before")],
    "histories": [
        *(f"/v1/runs/RUN/{what}?{name}={HOLE}" for what in ("events", "logs", "results") for name in ("after", "page_size")),
        f"/v1/runs/RUN/children?page_token={HOLE}", f"/v1/events?after={HOLE}", f"/v1/events?run_id={HOLE}",
    ],
    "names": [f"/v1/{what}/{HOLE}" for what in ("runs", "tasks", "queues", "workers", "tokens", "schedules")],
    "schedules": [f"/v1/schedules?{name}={HOLE}" for name in ("task", "page_size", "page_token")],
}  # fmt: skip
DEEDS = [
    ("PATCH", f"/v1/queues/{HOLE}", b'{"concurrency":3}'), ("POST", f"/v1/queues/{HOLE}:pause", b""),
    ("POST", f"/v1/tasks/{HOLE}:deactivate", b""), ("POST", f"/v1/tasks/{HOLE}:terminate", b""),
    ("POST", f"/v1/runs/{HOLE}:terminate", b""), ("DELETE", f"/v1/runs/{HOLE}", None),
    ("POST", f"/v1/schedules/{HOLE}:trigger", b""), ("PATCH", f"/v1/schedules/{HOLE}", b'{"priority":1}'),
    ("DELETE", f"/v1/schedules/{HOLE}", None),
    ("POST", f"/v1/workers/{HOLE}:drain", b""), ("POST", f"/v1/tokens/{HOLE}:complete", b""),
]  # fmt: skip
HEADERS = [
    ("POST", "/v1/runs", b'{"task":"backup"}', "idempotency_key"), ("PATCH", "/v1/runs/RUN", b'{"priority":1}', "if_match"),
    ("GET", "/v1/runs/RUN", None, "if_none_match"), ("GET", "/v1/runs/RUN/events", None, "last_event_id"),
    ("GET", "/v1/events", None, "last_event_id"), ("GET", "/v1/runs/RUN", None, "x_request_id"),
]  # fmt: skip

OWN = re.compile(
    rb'[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|req_\w+|"(?:token|next_page_token)":"[^"]*"|"(?:next_after|beat)":\d+'
)
"""What is different on every server."""


class Side:
    """One of the two servers, and what values are tried on."""

    def __init__(self, server, verify):
        self.server, self.verify = server, verify

    async def set(self):
        """Have a run that is running (claimed before all that were handed back), and a token of it."""
        server = self.server
        self.run_id = await server.running(labels={"a": "b"}, priority=10)
        asked = wire.TokenReport(run_id=self.run_id, epoch=1, name="t")
        self.token = (await server.report(asked)).replies[0].token

    def named(self, text):
        for name, own in (("RUN", self.run_id), ("WORKER", self.server.worker), ("TOKEN", self.token)):
            text = text.replace(name, own)
        return text

    async def verdict(self, method, target, body=None, **headers):
        """Return what is answered, but for what is different on every server."""
        body = body if body is None else self.named(body.decode()).encode()
        answer = await self.server.ask(method, self.named(target), body, **headers)
        return answer.status, OWN.sub(b"OWN", answer.body.replace(self.token.encode(), b"OWN"))

    async def shown(self):
        """Return all that was kept."""
        shown = [await self.verdict("GET", page) for page in ("/v1/tasks", "/v1/queues", "/v1/workers")]
        token = ""
        while token or len(shown) == 3:
            page = await self.server.get(f"/v1/runs?page_size=100&page_token={token}")
            token = page.json["next_page_token"]
            shown += [OWN.sub(b"OWN", json.dumps(run).encode()) for run in page.json["data"]]
        return shown


@pytest.fixture
def sides(postgres_store):
    """Serve from both stores at once: an async context manager."""
    return lambda: Both(postgres_store)


class Both:
    def __init__(self, url, surfaces=(NATIVE_SURFACE,), side=Side):
        self.url, self.surfaces, self.side = url, surfaces, side

    async def __aenter__(self):
        stores = (None, opened(self.url, ManualClock(START), threaded=False))
        self.serving = [
            kit.serving("backup", store=store, speaks=self.surfaces, allow_host=("localhost",)) for store in stores
        ]
        self.sides = [
            self.side(await serving.__aenter__(), verify)
            for serving, verify in zip(self.serving, (verify_sqlite, verify_postgres), strict=True)
        ]
        for side in self.sides:
            await side.server.declare("keyed", key="who", concurrency_per_key=1)
            await side.server.declare("backup", "headway.bulk", retry=wire.RetrySpec(jitter=0.0))
        return self

    async def __aexit__(self, *raised):
        for serving in self.serving:
            await serving.__aexit__(*raised)

    async def set(self):
        for side in self.sides:
            await side.set()

    async def agree(self, what, method, target, body=None, **headers):
        """Ask both; they must say the same, and know what they say. Return whether anything was taken."""
        one, other = [await side.verdict(method, target, body, **headers) for side in self.sides]
        assert one[0] < 500, (what, one)
        if target.startswith("/v1/events"):  # positions are the store's own, and so is whether there is one yet
            assert one[0] == other[0] or {one[0], other[0]} == {200, 400}, what
            other = one
        assert one == other, what
        return one[0] < 400 and b'"rejected":[{' not in one[1]

    async def hold(self):
        """What was kept is the same on both, and sound."""
        one, other = [await side.shown() for side in self.sides]
        assert [] == [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
        for side in self.sides:
            assert [] == side.verify(side.server.store.read.near.connection)


@pytest.mark.parametrize("name", BODIES)
async def test_a_value_in_a_body_has_one_verdict_on_both_stores(sides, name):
    method, target, bodies = BODIES[name]
    async with sides() as both:
        taken = True
        for body in bodies:
            for what, value in JSON.items():
                if taken:
                    await both.set()
                written = json.dumps(body).replace(f'"{HOLE}"', value).encode()
                taken = await both.agree((body, what), method, target, written) and name in CHANGING
        await both.hold()


@pytest.mark.parametrize("name", URLS)
async def test_a_value_in_a_url_has_one_verdict_on_both_stores(sides, name):
    async with sides() as both:
        await both.set()
        for target in URLS[name]:
            for what, value in (TEXTS | NUMBERS).items():
                await both.agree((target, what), "GET", target.replace(HOLE, quote(value, safe="")))
            for odd in ("%ff", "%ed%a0%80", "%c0%80", "%"):
                await both.agree((target, odd), "GET", target.replace(HOLE, odd))


async def test_a_value_in_the_name_of_what_is_changed_has_one_verdict_on_both_stores(sides):
    async with sides() as both:
        await both.set()
        for method, target, body in DEEDS:
            for what, value in (TEXTS | NUMBERS).items():
                await both.agree((target, what), method, target.replace(HOLE, quote(value, safe="")), body)
        await both.hold()


async def test_a_value_in_a_header_has_one_verdict_on_both_stores(sides):
    async with sides() as both:
        await both.set()
        for method, target, body, header in HEADERS:
            for what, value in (TEXTS | NUMBERS).items():
                if value.isascii():
                    await both.agree((header, what), method, target, body, **{header: value})
        await both.hold()
