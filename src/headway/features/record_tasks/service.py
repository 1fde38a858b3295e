"""Record tasks: make them, change them, look at them and at the records that failed; and the mail server they use.

A record task is a task like others, under the same name, without a worker of the user's: it is started, scheduled, limited,
listed and stopped as all tasks are. What is kept here is what it does.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace

from headway.errors import (
    Conflict,
    InvalidInput,
    InvalidState,
    NotFound,
    RecordTaskNotFound,
    VersionMismatch,
)
from headway.features.record_tasks import store as storage
from headway.features.record_tasks.actions import Builder, Secrets, place_of
from headway.features.record_tasks.model import EXECUTOR, RecordError, RecordTask, Webhook
from headway.features.tables.definitions import Tables
from headway.features.tables.model import Table
from headway.features.tables.records import Records
from headway.ids import IdSource
from headway.kernel.namespace import Namespace
from headway.kernel.run import FINAL
from headway.kernel.task import RetryPolicy, Task
from headway.outbound.gateway import Gateway
from headway.outbound.letter import MailServer, check_server
from headway.protocol import record_tasks as wire
from headway.protocol.runs import StartRun
from headway.protocol.values import invalid
from headway.runs.idempotency import RequestKey
from headway.runs.runs import Runs, StartResult
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork
from headway.vault import NotOpened, Vault

TASKS_MAX: Final = 1_000
CRASHES_MAX: Final = 100
"""Servers that may die under one run: it is not its own code that took them down."""
_encode: Final = msgspec.json.Encoder().encode
_INPUT: Final = _encode({
    "type": "object",
    "properties": {
        "records": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1_000},
        "failed_of": {"type": "string"},
    },
    "additionalProperties": False,
}).decode()  # fmt: skip


class KeptServer(msgspec.Struct, frozen=True):
    """A mail server as it is kept, and what is to be known of its password."""

    server: MailServer
    has_password: bool
    updated_at: int


class RecordTasks:
    """Every verb on the record tasks of an organisation."""

    def __init__(
        self,
        store: Store,
        ids: IdSource,
        namespace: Namespace,
        tables: Tables,
        records: Records,
        runs: Runs,
        gateway: Gateway,
        vault: Vault,
    ) -> None:
        self._store = store
        self._ids = ids
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
        """Return which table each of the record tasks works on: the task's name → the table's id."""
        return {self._namespace.unqualify(kept.name): kept.table_id for kept in await self.list()}

    async def get(self, name: str) -> RecordTask:
        """Return a record task; raise RecordTaskNotFound."""
        stored = self._namespace.qualify(name)
        found = await self._store.read.ask(lambda database, _: storage.find(database, stored))
        if found is None:
            raise _absent(name)
        return found

    def task(self, kept: RecordTask) -> Task:
        """Return the task that a record task is, as it is known here, with the organisation's own names."""
        return self._namespace.task(self._store.definitions.task(kept.name))

    async def create(self, spec: wire.CreateRecordTask) -> RecordTask:
        """Make a record task; raise InvalidInput with a pointer to what cannot be, Conflict for a name that is taken."""
        if spec.name.startswith("headway."):
            raise invalid("/name", "names that begin with 'headway.' are the server's own")
        stored = self._namespace.qualify(spec.name)
        made = await self._built(stored, spec.table, spec.filter, spec.actions, spec.on_error)

        def work(uow: UnitOfWork) -> RecordTask:
            if storage.lock(uow, stored) is not None:
                raise Conflict(f"there is a record task {spec.name!r}")
            if len(storage.read_all(uow.database, self._namespace.organisation)) >= TASKS_MAX:
                raise Conflict(f"there are {TASKS_MAX:,} record tasks already")
            known = uow.task_now(stored)
            if known is not None and known.executor != EXECUTOR:
                raise Conflict(f"there is a task {spec.name!r}, which workers execute")
            kept = replace(made, created_at=uow.now_ms, updated_at=uow.now_ms)
            storage.insert(uow, kept)
            task = Task(
                name=stored, description=spec.description, executor=EXECUTOR, queue=self._namespace.qualify(spec.queue),
                input_schema=_INPUT, retry=RetryPolicy(first_ms=30_000),
                max_crashes=CRASHES_MAX, active=spec.active,
                created_at=uow.now_ms if known is None else known.created_at, updated_at=uow.now_ms,
            )  # fmt: skip
            self._define(uow, task)
            return kept

        return await self._store.write(work, grows=True)

    async def patch(self, name: str, spec: wire.PatchRecordTask, version: int | None = None) -> RecordTask:
        """Change a record task; raise VersionMismatch if it is not at that version. Runs that have begun do not see it."""
        before = await self.get(name)
        table = before.table_id if spec.table is UNSET else spec.table
        wanted = before.filter if spec.filter is UNSET else spec.filter
        on_error = before.on_error if spec.on_error is UNSET else spec.on_error
        if spec.actions is UNSET:
            if spec.table is not UNSET:
                raise invalid("/actions", "a new table needs its own actions")
            found = await self._tables.get(table)
            after = replace(before, filter=self._filter(found, wanted), on_error=on_error)
        else:
            after = await self._built(before.name, table, wanted, spec.actions, on_error)

        def work(uow: UnitOfWork) -> RecordTask:
            now = storage.lock(uow, before.name)
            if now is None:
                raise _absent(name)
            if now.version != before.version or version not in (None, now.version):
                raise VersionMismatch(f"the record task is at version {now.version}", version=now.version)
            kept = replace(after, version=now.version + 1, created_at=now.created_at, updated_at=uow.now_ms)
            storage.save(uow, kept, now.version)
            task = uow.task_now(now.name)
            assert task is not None
            changed = {
                member: value
                for member, value in (("description", spec.description), ("queue", spec.queue))
                if value is not UNSET
            }
            if changed:
                if "queue" in changed:
                    changed["queue"] = self._namespace.qualify(str(changed["queue"]))
                self._define(uow, replace(task, updated_at=uow.now_ms, **changed))
            return kept

        return await self._store.write(work)

    async def delete(self, name: str, version: int | None = None) -> None:
        """Remove a record task. Its runs stay as they are; those that are not finished fail, and no new one starts."""
        stored = self._namespace.qualify(name)

        def work(uow: UnitOfWork) -> None:
            found = storage.lock(uow, stored)
            if found is None:
                raise _absent(name)
            if version not in (None, found.version):
                raise VersionMismatch(f"the record task is at version {found.version}", version=found.version)
            storage.delete(uow, found)
            task = uow.task_now(stored)
            if task is not None:
                uow.define(replace(task, active=False, updated_at=uow.now_ms))

        await self._store.write(work)

    def _define(self, uow: UnitOfWork, task: Task) -> None:
        uow.define(task)
        uow.queue(task.queue)
        uow.open_lane(task.queue, task.name)

    # -- runs ------------------------------------------------------------------------------------------------------------

    async def errors(self, run_id: str, after: str = "", limit: int = 100) -> tuple[builtins.list[RecordError], bool]:
        """Return why records have failed in a run, in order of the record's id, and whether there are more."""
        await self._runs.get(run_id)
        found = await self._store.read.ask(lambda database, _: storage.read_errors(database, run_id, after, limit + 1))
        return found[:limit], len(found) > limit

    async def run_failed(self, run_id: str, request: RequestKey | None = None) -> StartResult:
        """Start a run over the records alone that failed in an earlier one, which must have come to its end."""
        run = await self._runs.get(run_id)
        await self.get(run.task)
        if run.state not in FINAL:
            raise InvalidState("the run is not finished: more records may fail", state=str(run.state))
        failed, _ = await self.errors(run_id, limit=1)
        if not failed:
            raise Conflict("no record failed in that run")
        over = msgspec.Raw(_encode(wire.RunOver(failed_of=run_id)))
        return await self._runs.start(StartRun(task=run.task, input=over, queue=run.queue), request)

    # -- the mail server -------------------------------------------------------------------------------------------------

    async def mail_server(self) -> KeptServer:
        """Return where mails are handed over, without the password; raise NotFound."""
        organisation = self._namespace.organisation
        found = await self._store.read.ask(lambda database, _: storage.read_mail_server(database, organisation))
        if found is None:
            raise NotFound("no mail server is set; `headway mail-server set` sets one")
        return KeptServer(msgspec.json.decode(found[0], type=MailServer), bool(found[1]), found[2])

    async def opened_mail_server(self) -> MailServer:
        """Return where mails are handed over, with the password; raise NotFound, or Conflict if it does not open."""
        organisation = self._namespace.organisation
        found = await self._store.read.ask(lambda database, _: storage.read_mail_server(database, organisation))
        if found is None:
            raise NotFound("no mail server is set; `headway mail-server set` sets one")
        server = msgspec.json.decode(found[0], type=MailServer)
        return replace(server, password=self._opened(self._smtp, found[1])) if found[1] else server

    async def set_mail_server(self, spec: wire.MailServerIn) -> KeptServer:
        """Say where mails are handed over; raise InvalidInput, TargetRefused for a server inside among it."""
        given = asdict(spec)
        password = given.pop("password")
        server = MailServer(**given)
        await self._gateway.policy.look_up(check_server(server, self._gateway.policy))
        organisation = self._namespace.organisation

        def work(uow: UnitOfWork) -> None:
            found = storage.read_mail_server(uow.database, organisation)
            sealed = "" if password is UNSET or not password else self._vault.seal(self._smtp, password)
            if password is UNSET and found is not None and found[1]:
                before = msgspec.json.decode(found[0], type=MailServer)
                if (before.host, before.username) != (server.host, server.username):  # or it would be sent to another
                    raise InvalidInput("another host or user name needs the password anew")
                sealed = found[1]
            storage.save_mail_server(uow, organisation, _encode(server).decode(), sealed)

        await self._store.write(work)
        return await self.mail_server()

    async def forget_mail_server(self) -> None:
        """Forget the mail server and its password."""
        await self._store.write(lambda uow: storage.delete_mail_server(uow, self._namespace.organisation))

    @property
    def _smtp(self) -> str:
        return f"smtp:{self._namespace.organisation}"

    # -- what is secret --------------------------------------------------------------------------------------------------

    def secrets(self, kept: RecordTask, webhook: Webhook) -> Secrets:
        """Return what is secret of a webhook; raise Conflict if it does not open."""
        if not webhook.sealed:
            return Secrets()
        return msgspec.json.decode(self._opened(place_of(kept.name, webhook.url), webhook.sealed), type=Secrets)

    def _opened(self, belongs_to: str, sealed: str) -> str:
        try:
            return self._vault.open(belongs_to, sealed)
        except NotOpened as error:
            raise Conflict(str(error)) from None

    # -- from what was asked to what is kept -----------------------------------------------------------------------------

    async def _built(
        self, stored: str, table_name: str, wanted: Any, actions: Sequence[wire.AnyAction], on_error: wire.OnError
    ) -> RecordTask:
        table = await self._tables.get(table_name)
        builder = Builder(
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


def _absent(name: str) -> RecordTaskNotFound:
    return RecordTaskNotFound(f"there is no record task {name[:80]!r}", record_task=name[:80])
