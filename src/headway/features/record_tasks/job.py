"""Job: the pending changes of one record, collected by the actions of a task and written by one transaction."""

from __future__ import annotations

from typing import Any

from headway.features.record_tasks.model import RecordError
from headway.features.tables.changes import without_required
from headway.features.tables.model import Record, Table, Values
from headway.runs.starting import NewRun

RecordKey = tuple[str, str]
"""Id of a table, and id of a record in it."""


class Job:
    """Pending changes of one record."""

    def __init__(self, table: Table, record: Record) -> None:
        self.table = table if table.external is None else without_required(table)
        self.record = record
        self.values: Values = record.values
        """Values of the record after the actions so far."""
        self.given: dict[str, Any] = {}
        """Values that the actions so far give to the record itself."""
        self.others: list[tuple[RecordKey, dict[str, Any]]] = []
        """Values that they give to connected records."""
        self.inserts: list[tuple[RecordKey, dict[str, Any]]] = []
        self.starts: list[NewRun] = []
        self.reads: dict[RecordKey, int] = {(table.id, record.id): record.version}
        """Versions of the records that the changes are computed from."""
        self.sent = False
        """Whether a mail or a call has left the server, which cannot be undone."""
        self.error: RecordError | None = None

    def fail(self, action: int, code: str, message: str) -> None:
        """Let the record fail at an action, with up to 2,000 characters of message; its changes are not written."""
        self.error = RecordError(self.record.id, action, code, message[:2_000], 0)
