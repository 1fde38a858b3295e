"""Service of record tasks: their definitions, and their runs as far as records failed.

A record task is a task like others, under the same name, but executed by the server: it is started, scheduled, limited,
listed and stopped as all tasks are. Its definition and the errors of its records are stored here.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from headway.errors import Conflict, InvalidState
from headway.features.record_tasks import store as storage
from headway.features.record_tasks.actions import ActionBuilder, Secrets, seal_of
from headway.features.record_tasks.commands import CreateTask, DeleteTask, PatchTask, absent
from headway.features.record_tasks.model import RecordError, RecordTask, Webhook
from headway.features.tables.definitions import Tables
from headway.features.tables.model import Table
from headway.features.tables.records import Records
from headway.kernel.authority import RESERVED
from headway.kernel.namespace import Namespace
from headway.kernel.run import FINAL
from headway.kernel.task import Task
from headway.outbound.gateway import Gateway
from headway.protocol import record_tasks as wire
from headway.protocol.runs import StartRun
from headway.protocol.values import invalid
from headway.runs.idempotency import RequestKey
from headway.runs.runs import Runs, StartResult
from headway.store.store import Store
from headway.vault import NotOpened, Vault

_encode: Final = msgspec.json.Encoder().encode


class RecordTasks:
    """The record tasks of an organisation."""

    def __init__(
        self,
        store: Store,
        namespace: Namespace,
        tables: Tables,
        records: Records,
        runs: Runs,
        gateway: Gateway,
        vault: Vault,
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._tables = tables
        self._records = records
        self._runs = runs
        self._gateway = gateway
        self._vault = vault

    # -- definitions ---------------------------------------------------------------------------------------------------

    async def list(self) -> builtins.list[RecordTask]:
        """Return all record tasks, by name."""
        return await self._store.read.ask(lambda database, _: storage.read_all(database, self._namespace.organisation))

    async def tables(self) -> dict[str, str]:
        """Return the ids of the tables that the record tasks work on, by the tasks' names."""
        return {self._namespace.unqualify(record_task.name): record_task.table_id for record_task in await self.list()}

    async def get(self, name: str) -> RecordTask:
        """Return a record task; raise RecordTaskNotFound."""
        stored = self._namespace.qualify(name)
        found = await self._store.read.ask(lambda database, _: storage.find(database, stored))
        if found is None:
            raise absent(name)
        return found

    def task(self, record_task: RecordTask) -> Task:
        """Return the task of a record task, with the organisation's own names."""
        return self._namespace.task(self._store.definitions.task(record_task.name))

    async def create(self, spec: wire.CreateRecordTask) -> RecordTask:
        """Make a record task and its task.

        Raises InvalidInput with a pointer, TableNotFound, TargetRefused for a URL that the egress policy does not allow,
        and Conflict for a name that is in use and for too many record tasks.
        """
        if spec.name.startswith(RESERVED):
            raise invalid("/name", "names that begin with 'headway.' are reserved")
        task = await self._built(
            self._namespace.qualify(spec.name), spec.table, spec.filter, spec.actions, spec.on_error
        )
        return await self._store.write(CreateTask(self._namespace, spec, task))

    async def patch(self, name: str, spec: wire.PatchRecordTask, version: int | None = None) -> RecordTask:
        """Change a record task; runs that have begun keep the earlier definition.

        Raises RecordTaskNotFound, VersionMismatch if it is not at `version`, and as `create` does.
        """
        before = await self.get(name)
        table = before.table_id if spec.table is UNSET else spec.table
        condition = before.filter if spec.filter is UNSET else spec.filter
        on_error = before.on_error if spec.on_error is UNSET else spec.on_error
        if spec.actions is UNSET:
            if spec.table is not UNSET:
                raise invalid("/actions", "a new table needs its own actions")
            found = await self._tables.get(table)
            after = replace(before, filter=self._filter(found, condition), on_error=on_error)
        else:
            after = await self._built(before.name, table, condition, spec.actions, on_error)
        return await self._store.write(PatchTask(self._namespace, spec, before, after, version))

    async def delete(self, name: str, version: int | None = None) -> None:
        """Remove a record task; its unfinished runs fail when they are claimed, and no new one starts.

        Raises RecordTaskNotFound or VersionMismatch.
        """
        await self._store.write(DeleteTask(self._namespace, self._namespace.qualify(name), version))

    # -- runs ------------------------------------------------------------------------------------------------------------

    async def errors(self, run_id: str, after: str = "", limit: int = 100) -> tuple[builtins.list[RecordError], bool]:
        """Return errors of a run's records by the records' ids, and whether there are more; raise RunNotFound."""
        await self._runs.get(run_id)
        found = await self._store.read.ask(lambda database, _: storage.read_errors(database, run_id, after, limit + 1))
        return found[:limit], len(found) > limit

    async def run_failed(self, run_id: str, request: RequestKey | None = None) -> StartResult:
        """Start a run over the failed records of an earlier run.

        Raises RunNotFound, RecordTaskNotFound, InvalidState if that run is not finished, Conflict if no record failed,
        and as `Runs.start` does.
        """
        run = await self._runs.get(run_id)
        await self.get(run.task)
        if run.state not in FINAL:
            raise InvalidState("the run is not finished: more records may fail", state=str(run.state))
        failed, _ = await self.errors(run_id, limit=1)
        if not failed:
            raise Conflict("no record failed in that run")
        over = msgspec.Raw(_encode(wire.RunOver(failed_of=run_id)))
        return await self._runs.start(StartRun(task=run.task, input=over, queue=run.queue), request)

    # -- secrets and definitions ---------------------------------------------------------------------------------------

    def secrets(self, record_task: RecordTask, webhook: Webhook) -> Secrets:
        """Return the secrets of a webhook; raise Conflict if the server's secret does not open them."""
        if not webhook.sealed:
            return Secrets()
        try:
            opened = self._vault.open(seal_of(record_task.name, webhook.url), webhook.sealed)
        except NotOpened as error:
            raise Conflict(str(error)) from None
        return msgspec.json.decode(opened, type=Secrets)

    async def _built(
        self, stored: str, table_name: str, wanted: Any, actions: Sequence[wire.AnyAction], on_error: wire.OnError
    ) -> RecordTask:
        table = await self._tables.get(table_name)
        builder = ActionBuilder(
            stored,
            table,
            find_table=self._tables.get,
            knows_task=lambda name: self._namespace.find(self._store.definitions.tasks, name) is not None,
            gateway=self._gateway,
            vault=self._vault,
        )
        built = [await builder.action(action, f"/actions/{index}") for index, action in enumerate(actions)]
        return RecordTask(
            name=stored, organisation=self._namespace.organisation, table_id=table.id, filter=self._filter(table, wanted),
            actions=tuple(built), on_error=on_error, connected=builder.connected,
        )  # fmt: skip

    def _filter(self, table: Table, wanted: Any) -> Any:
        """Return the filter with the ids of its fields, which stay when they are renamed; raise InvalidInput."""
        self._records.condition(table, wanted)
        return _by_id(table, wanted)


def _by_id(table: Table, wanted: Any) -> Any:
    if isinstance(wanted, list):
        return [_by_id(table, each) for each in wanted]
    if not isinstance(wanted, dict):
        return wanted
    if "field" in wanted:
        field = table.find(str(wanted["field"]))
        assert field is not None, "the condition was read"
        return {**wanted, "field": field.id}
    return {word: _by_id(table, each) for word, each in wanted.items()}
