"""A surface with one route, a dialect, a setting and a credential header of its own."""

from __future__ import annotations

import msgspec
from tests.web.toy.settings import ToySettings

from headway.protocol import keytext
from headway.protocol.runs import StartRun
from headway.web.call import StartPolicy
from headway.web.dialect import Dialect
from headway.web.reply import Reply, json
from headway.web.route import route
from headway.web.surface import BEARER, Credentials, Surface

KEY = b"x-toy-key"


class Sorry(msgspec.Struct):
    sorry: str


class Started(msgspec.Struct):
    greeting: str
    id: str


class ToyDialect(Dialect):
    problem, problem_kind = Sorry, "application/json"

    def claims(self, call):
        return call.path.startswith("/toy/")

    def refuse(self, error, call):
        return Reply(self.status(type(error)), msgspec.json.encode(Sorry(error.code)))


def credential(headers):
    shown = keytext.read(headers[KEY].decode()) if KEY in headers else None
    return None if shown is None else (None, shown)


def routes(settings, gate):
    async def start(call):
        """POST /toy/{name}."""
        started = await gate.start(call, StartRun(task=call.name()))
        return json(Started(settings.greeting, started.run.id))

    return [
        route(
            "POST",
            "/toy/{name}",
            start,
            "run:start",
            "Start a task.",
            gives=Started,
            unparsed=True,
            dialect=ToyDialect(),
        )
    ]


SURFACE = Surface(
    name="toy", title="Toy", description="A toy.", schemes={"key": BEARER}, ways=(("key",),), routes=routes, settings=ToySettings,
    policy=StartPolicy(run_type="toy"), credentials=Credentials((KEY,), credential), headers=("X-Toy-Key",),
)  # fmt: skip
