"""A feature with a table, a hook, a route and a loop: it counts the runs that have ended by task, and forgets them."""

import msgspec

from headway.feature import Feature
from headway.kernel.run import FINAL
from headway.notify.events import CommitEvent
from headway.runs.hooks import Hook
from headway.store.command import Command
from headway.web.reply import json
from headway.web.route import route

MIGRATION = "CREATE TABLE toy_tallies (task TEXT PRIMARY KEY, ended INTEGER NOT NULL) STRICT, WITHOUT ROWID"


class RunEnded(CommitEvent, frozen=True):
    """A run has ended."""


class Tallies(msgspec.Struct):
    tallies: dict[str, int]


class Forget(Command[None]):
    def apply(self, uow):
        uow.database.run("toy_forget")


class Tally:
    def __init__(self, store):
        self._store = store

    async def all(self):
        return dict(await self._store.read.on(lambda database: database.rows("toy_read")))


class ForgettingLoop:
    name = "toy"
    wakes_on = (RunEnded,)

    def __init__(self, service):
        self._store = service.store

    async def tick(self):
        await self._store.write(Forget())


def count(uow, run, after, event):
    uow.database.run("toy_count", task=run.task)
    uow.emit(RunEnded())


async def tallies(call):
    """GET /v1/toy/tallies."""
    return json(Tallies(await call.services.get(Tally).all()))


TOY = Feature(
    name="toy",
    hooks=(Hook(name="toy", states=FINAL, concerns=lambda run: True, on_transition=count),),
    services={Tally: lambda service, organisation: Tally(service.store)},
    routes=(route("GET", "/v1/toy/tallies", tallies, "task:read", "Ended runs by task.", gives=Tallies),),
    loops=(ForgettingLoop,),
)
