# Generated from client/aio/record_tasks.py by tools/unasync.py: change that, not this.
"""client.record_tasks: tasks without code, over the records of a table."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headway.client import encoding
from headway.client.sync import pages
from headway.client.sync.caller import Caller
from headway.client.sync.handle import RunHandle
from headway.wire.record_tasks import OnError, RecordErrorList, RecordErrorOut, RecordTaskList, RecordTaskOut
from headway.wire.runs import RunOut


class RecordTasks:
    """The record tasks of a server, each by its name. They are started, scheduled and stopped as all tasks are.

    client.record_tasks.create(
        "Greet regulars", "customers", [{"action": "update", "set": {"Status": "regular"}}],
        filter={"field": "Orders", "operator": "at least", "value": 10},
    )
    run = client.runs.start("Greet regulars")
    run.wait()
    for error in client.record_tasks.errors(run.id):
        print(error.record_id, error.message)
    """

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def create(
        self,
        name: str,
        table: str,
        actions: Iterable[Mapping[str, Any]],
        *,
        filter: object = None,  # noqa: A002 (the word of the API)
        on_error: OnError = "continue",
        description: str = "",
        queue: str | None = None,
        active: bool = True,
    ) -> RecordTaskOut:
        """Make one: what is done, in this order, to each record of the table that fits the filter.

        With `on_error="continue"` a record that fails is noted and the next one goes on; with "stop" the run fails there.
        """
        body = {
            "name": name,
            "table": table,
            "actions": builtins.list(actions),
            "filter": filter,
            "on_error": on_error,
            "description": description,
            "active": active,
        }
        return self._caller.post("/v1/record-tasks", body | ({} if queue is None else {"queue": queue}), RecordTaskOut)

    def list(self) -> builtins.list[RecordTaskOut]:
        """Return all, by name."""
        return (self._caller.get("/v1/record-tasks", RecordTaskList)).data

    def get(self, name: str) -> RecordTaskOut:
        """Return one; what is secret of its actions is not shown."""
        return self._caller.get(encoding.path("record-tasks", name), RecordTaskOut)

    def update(self, name: str, *, version: int | None = None, **changes: Any) -> RecordTaskOut:
        """Change what is given, in the words of `create`; runs that have begun go on with what they began with.

        Actions are given whole, with their secrets. With `version` only if nobody has changed it since: raises VersionMismatch.
        """
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return self._caller.patch(encoding.path("record-tasks", name), changes, RecordTaskOut, headers=headers)

    def delete(self, name: str) -> None:
        """Remove it. Its runs stay as they are; those that are not finished fail, and no new one starts."""
        self._caller.delete(encoding.path("record-tasks", name))

    def errors(self, run_id: str) -> Iterator[RecordErrorOut]:
        """Iterate over the records that failed in a run, and why, by record id."""
        after = ""
        while True:
            where = encoding.path("runs", run_id, "record-errors", after=after or None, page_size=pages.PAGE_SIZE)
            page = self._caller.get(where, RecordErrorList)
            yield from page.data
            if not page.has_more:
                return
            after = page.data[-1].record_id

    def retry_failed(self, run_id: str, *, idempotency_key: str | None = None) -> RunHandle:
        """Start a run over the records alone that failed in an earlier one; raise Conflict if none did."""
        path = encoding.path("runs", run_id, verb="run-failed-records")
        run = self._caller.post(path, {}, RunOut, idempotency_key=idempotency_key)
        return RunHandle(self._caller, run)
