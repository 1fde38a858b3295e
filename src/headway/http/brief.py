"""Answers in brief, for keys without the scope to read what they change: id, state and version only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from headway.http.reply import Reply, encode
from headway.model.access import Scope
from headway.model.effects import NEEDS, Effect
from headway.wire import brief as wire
from headway.wire.record_tasks import MailServerOut, RecordTaskOut
from headway.wire.runs import BatchOut, RunOut
from headway.wire.schedules import ScheduleOut
from headway.wire.tables import FieldOut, RecordOut, RecordsOut, TableOut
from headway.wire.workers import QueueOut, TaskOut, WorkerOut


class Shown(NamedTuple):
    """The effect of showing an answer, and the struct that replaces it for keys without that effect's scope."""

    effect: Effect
    brief: type[msgspec.Struct]


SHOWN: Final[Mapping[type[msgspec.Struct], Shown]] = {
    RunOut: Shown("see a run", wire.RunBrief),
    BatchOut: Shown("see a run", wire.BatchBrief),
    ScheduleOut: Shown("see a schedule", wire.ScheduleBrief),
    TaskOut: Shown("see a task", wire.TaskBrief),
    RecordTaskOut: Shown("see a task", wire.RecordTaskBrief),
    QueueOut: Shown("see a queue", wire.QueueBrief),
    WorkerOut: Shown("see a worker", wire.WorkerBrief),
    TableOut: Shown("see a table", wire.TableBrief),
    FieldOut: Shown("see a table", wire.FieldBrief),
    RecordOut: Shown("see records", wire.RecordBrief),
    RecordsOut: Shown("see records", wire.RecordsBrief),
    MailServerOut: Shown("see the mail server", wire.MailServerBrief),
}
"""By the struct that a route returns. Others show nothing beyond the request itself."""


def shown(gives: type[msgspec.Struct] | None, scope: Scope) -> Shown | None:
    """Return what a route shows beyond its own scope, or None."""
    found = None if gives is None else SHOWN.get(gives)
    return None if found is None or NEEDS[found.effect].scope == scope else found


@lru_cache
def _decoder(kind: type[msgspec.Struct]) -> msgspec.json.Decoder[msgspec.Struct]:
    return msgspec.json.Decoder(kind)


def in_brief(reply: Reply, kind: type[msgspec.Struct]) -> Reply:
    """Return the answer reduced to the members of `kind`."""
    return msgspec.structs.replace(reply, body=encode(_decoder(kind).decode(reply.body)))
