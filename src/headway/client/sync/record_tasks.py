# Generated from client/aio/record_tasks.py by tools/unasync.py: change that, not this.
"""Record tasks: tasks without code, over the records of a table (`client.record_tasks`)."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headway.client import encoding
from headway.client.sync import pages
from headway.client.sync.caller import Caller
from headway.client.sync.handle import RunHandle
from headway.protocol.record_tasks import (
    OnError,
    RecordErrorList,
    RecordErrorOut,
    RecordTaskList,
    RecordTaskOut,
)
from headway.protocol.runs import RunOut


class RecordTasks:
    """Record tasks, each given by its name. They are started, scheduled and stopped as all tasks are.

        client.record_tasks.create(
            "Greet regulars", "customers", [{"action": "update", "set": {"Status": "regular"}}],
            filter={"field": "Orders", "operator": "at least", "value": 10},
        )
        run = client.runs.start("Greet regulars")
        run.wait()
        for error in client.record_tasks.errors(run.id):
            print(error.record_id, error.message)

    Its runs are those of the task with its name.
    """

    def __init__(self, caller: Caller) -> None:
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
        """Make a record task: `actions`, in order, for each record of `table` that matches `filter` (default: all).

        With `on_error="continue"` a failed record is noted and the next one follows; with "stop" the run fails there.
        Raises `table_not_found`, `target_refused` for a webhook's host that the server does not call, or `conflict`
        for a name that is taken.
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
        """Return all record tasks, by name."""
        return (self._caller.get("/v1/record-tasks", RecordTaskList)).data

    def get(self, name: str) -> RecordTaskOut:
        """Return a record task, without the secrets of its actions.

        Raises `record_task_not_found`.
        """
        return self._caller.get(encoding.path("record-tasks", name), RecordTaskOut)

    def update(self, name: str, *, version: int | None = None, **changes: Any) -> RecordTaskOut:
        """Change the given fields, named as in `create`; runs in progress go on with the earlier definition.

        `actions` replace all actions, so they need their secrets again. With `version`, the change is made only if
        the record task still has that version. Raises `record_task_not_found`, `table_not_found`, `target_refused`,
        `conflict` or `version_mismatch`.
        """
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return self._caller.patch(encoding.path("record-tasks", name), changes, RecordTaskOut, headers=headers)

    def delete(self, name: str) -> None:
        """Remove the record task; its unfinished runs fail, and finished ones stay.

        Raises `record_task_not_found` or `version_mismatch`.
        """
        self._caller.delete(encoding.path("record-tasks", name))

    def errors(self, run_id: str) -> Iterator[RecordErrorOut]:
        """Iterate over the records that failed in a run, with their errors, by record id.

        Raises `run_not_found` or `run_purged`.
        """
        after = ""
        while True:
            where = encoding.path("runs", run_id, "record-errors", after=after or None, page_size=pages.PAGE_SIZE)
            page = self._caller.get(where, RecordErrorList)
            yield from page.data
            if not page.has_more:
                return
            after = page.data[-1].record_id

    def retry_failed(self, run_id: str, *, idempotency_key: str | None = None) -> RunHandle:
        """Start a run over the records that failed in an earlier run.

        Raises `conflict` if none failed, `invalid_state` if that run is unfinished, `record_task_not_found`,
        `run_not_found` or `run_purged`.
        """
        path = encoding.path("runs", run_id, verb="run-failed-records")
        run = self._caller.post(path, {}, RunOut, idempotency_key=idempotency_key)
        return RunHandle(self._caller, run)
