"""Values that are sent to a server on each store, whose answers are compared."""

from __future__ import annotations

import json
import re

from tests.harness import START, opened
from tests.rows import verify as verify_sqlite
from tests.rows import verify_postgres
from tests.web import kit

from headway.clock import ManualClock
from headway.protocol import workers as wire
from headway.server import NATIVE_SURFACE

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
