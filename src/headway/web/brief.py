"""Brief answers, for keys without the scope to read the objects that they change or start: id, state and version only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import fields, replace

from headway.kernel.authority import Scope
from headway.kernel.permissions import NEEDS, Effect
from headway.protocol.record_tasks import MailServerOut, RecordTaskOut
from headway.protocol.runs import BatchOut, Open, RunOut
from headway.protocol.schedules import ScheduleOut
from headway.protocol.tables import FieldOut, RecordOut, RecordsOut, TableOut
from headway.protocol.workers import QueueOut, TaskOut, WorkerOut
from headway.web.reply import Reply, encode


class BriefForm(NamedTuple):
    """The effect of showing an answer, and the struct that replaces it for keys without that effect's scope."""

    effect: Effect
    brief: type[msgspec.Struct]


def _form(effect: Effect, whole: type[msgspec.Struct], subject: str, members: str) -> BriefForm:
    """Return the form with the named members of an answer, with their types and defaults, and with `brief`, which is true."""
    known = {field.name: field for field in fields(whole)}
    chosen = [
        (name, known[name].type, *([] if known[name].required else [known[name].default])) for name in members.split()
    ]
    brief = msgspec.defstruct(
        whole.__name__.removesuffix("Out") + "Brief",
        [("brief", bool, True), *chosen],
        bases=(Open,),
        namespace={"__doc__": f"{subject}, without `{NEEDS[effect].scope}`."},
        module=__name__,
        frozen=True,
        kw_only=True,
    )
    return BriefForm(effect, brief)


_RUN: Final = _form("see a run", RunOut, "A run", "id object state final version url")
_RECORD: Final = _form("see records", RecordOut, "A record", "id object version")


class BatchItemBrief(Open, frozen=True, kw_only=True, omit_defaults=True):
    """One outcome of a batch, without `run:read`."""

    status: int
    run: _RUN.brief | None = None  # type: ignore[name-defined]
    error: dict[str, Any] | None = None


class BatchBrief(Open, frozen=True, kw_only=True):
    """The outcomes of a batch, without `run:read`."""

    data: list[BatchItemBrief]


class RecordsBrief(Open, frozen=True, kw_only=True):
    """Records after a batch, without `record:read`."""

    data: list[_RECORD.brief]  # type: ignore[name-defined]
    created: int
    updated: int


FORMS: Final[Mapping[type[msgspec.Struct], BriefForm]] = {
    RunOut: _RUN,
    BatchOut: BriefForm("see a run", BatchBrief),
    ScheduleOut: _form("see a schedule", ScheduleOut, "A schedule", "id object state version url"),
    TaskOut: _form("see a task", TaskOut, "A task", "name object active url"),
    RecordTaskOut: _form("see a task", RecordTaskOut, "A record task", "name object active version url"),
    QueueOut: _form("see a queue", QueueOut, "A queue", "name object paused url"),
    WorkerOut: _form("see a worker", WorkerOut, "A worker", "id object state url"),
    TableOut: _form("see a table", TableOut, "A table", "id object version url"),
    FieldOut: _form("see a table", FieldOut, "A field", "id"),
    RecordOut: _RECORD,
    RecordsOut: BriefForm("see records", RecordsBrief),
    MailServerOut: _form("see the mail server", MailServerOut, "The mail server", "object updated_at"),
}
"""Brief forms by the struct that a route returns. Other structs show nothing beyond the request itself."""


def brief_form(gives: type[msgspec.Struct] | None, scope: Scope) -> BriefForm | None:
    """Return the brief form of a route's answer, or None if the route's own scope suffices to see all of it."""
    found = None if gives is None else FORMS.get(gives)
    return None if found is None or NEEDS[found.effect].scope == scope else found


@lru_cache
def _decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[msgspec.Struct]:
    return msgspec.json.Decoder(kind)


def in_brief(reply: Reply, kind: type[msgspec.Struct]) -> Reply:
    """Return the answer reduced to the members of `kind`."""
    return replace(reply, body=encode(_decoder(kind).decode(reply.body)))
