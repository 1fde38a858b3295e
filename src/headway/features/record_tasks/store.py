"""Record tasks, the errors of their records, and mail servers in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from headway.features.record_tasks.model import Action, OnError, RecordError, RecordTask
from headway.store.database import Database
from headway.store.unit_of_work import UnitOfWork, as_rows

_encode: Final = msgspec.json.Encoder().encode


class Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    """JSON document of a record task."""

    table_id: str
    actions: tuple[Action, ...] = ()
    filter: Any = None
    on_error: OnError = "continue"
    connected: bool = False


_definition: Final = msgspec.json.Decoder(Definition).decode


def _record_task(row: tuple[Any, ...]) -> RecordTask:
    name, organisation, text, version, created_at, updated_at = row
    stored = _definition(text)
    return RecordTask(
        name=name, organisation=organisation, table_id=stored.table_id, filter=stored.filter, actions=stored.actions,
        on_error=stored.on_error, connected=stored.connected, version=version, created_at=created_at, updated_at=updated_at,
    )  # fmt: skip


def find(database: Database, name: str) -> RecordTask | None:
    """Return the record task of a stored name; None if there is none."""
    rows = database.rows("find_record_task", name=name)
    return _record_task(rows[0]) if rows else None


def lock(uow: UnitOfWork, name: str) -> RecordTask | None:
    """Return the record task, locked until the end of the transaction; None if there is none."""
    rows = uow.database.rows("lock_record_task", name=name)
    return _record_task(rows[0]) if rows else None


def read_all(database: Database, organisation: int) -> list[RecordTask]:
    """Return the organisation's record tasks, by name."""
    return [_record_task(row) for row in database.rows("read_record_tasks", organisation=organisation)]


def insert(uow: UnitOfWork, task: RecordTask) -> None:
    """Add a record task."""
    uow.execute("insert_record_task", organisation=task.organisation, created_at=task.created_at, **_binds(task))


def save(uow: UnitOfWork, task: RecordTask, was: int) -> None:
    """Save a record task; `was` is the version that it replaces."""
    uow.execute("save_record_task", expect=1, was=was, **_binds(task))


def delete(uow: UnitOfWork, task: RecordTask) -> None:
    """Remove a record task."""
    uow.execute("delete_record_task", expect=1, name=task.name, was=task.version)


def _binds(task: RecordTask) -> dict[str, Any]:
    stored = Definition(task.table_id, task.actions, task.filter, task.on_error, task.connected)
    text = _encode(stored).decode()
    return {"name": task.name, "definition": text, "version": task.version, "updated_at": task.updated_at}


# -- errors ------------------------------------------------------------------------------------------------------------


def add_errors(uow: UnitOfWork, run_id: str, errors: Sequence[RecordError]) -> None:
    """Add errors of records, at most one for each record of a run."""
    if errors:
        rows = [(each.record_id, each.action, each.code, each.message) for each in errors]
        uow.execute("insert_record_errors", run_id=run_id, rows=as_rows(rows), now_ms=uow.now_ms)


def read_errors(database: Database, run_id: str, after: str, limit: int) -> list[RecordError]:
    """Return errors of a run's records, in order of the records' ids."""
    return [RecordError(*row) for row in database.rows("read_record_errors", run_id=run_id, after=after, limit=limit)]


# -- mail servers ------------------------------------------------------------------------------------------------------


def read_mail_server(database: Database, organisation: int) -> tuple[str, str, int] | None:
    """Return the settings as JSON, the sealed password, and the time of the last change; None if none are set."""
    rows = database.rows("read_mail_server", organisation=organisation)
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else None


def save_mail_server(uow: UnitOfWork, organisation: int, settings: str, password: str) -> None:
    """Save the settings of an organisation's mail server."""
    uow.execute(
        "save_mail_server", organisation=organisation, settings=settings, password=password, updated_at=uow.now_ms
    )


def delete_mail_server(uow: UnitOfWork, organisation: int) -> None:
    """Remove the settings of an organisation's mail server."""
    uow.execute("delete_mail_server", organisation=organisation)
