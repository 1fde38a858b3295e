"""Exports: the records of a table become a file, in transactions that each keep how far the table is read.

It is no snapshot: a record that changes meanwhile is there as it was when its turn came.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.errors import Damaged, FieldNotFound
from headway.features.tables.definitions import Tables
from headway.features.tables.file import StoredFile
from headway.features.tables.files import Files, add_chunk, add_file, finish, new_file
from headway.features.tables.model import Field, Table
from headway.features.tables.records import Records
from headway.features.tables.rules.formats import BOM, ending, written
from headway.ids import IdSource
from headway.kernel.run import Run
from headway.protocol.tables import ExportTable
from headway.runs.checkpoints import last_checkpoint, leased_run, save_checkpoint
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

RECORDS: Final = 1_000
"""Records of one transaction."""
KINDS: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json", "jsonl": "application/x-ndjson"}


class ExportDone(msgspec.Struct, frozen=True):
    """How far an export is."""

    file: StoredFile
    after: str = ""
    records: int = 0
    steps: int = 0
    whole: bool = False


class Exports:
    """Carries out exports, for the built-in worker."""

    def __init__(
        self, store: Store, tables: Tables, records: Records, files: Files, ids: IdSource, organisation: int = 1
    ) -> None:
        self._store = store
        self._tables = tables
        self._records = records
        self._files = files
        self._ids = ids
        self._organisation = organisation

    async def begin(self, run: Run, spec: ExportTable) -> ExportDone:
        """Return how far earlier attempts have come; raise what stands in the way of a new one."""
        done = await last_checkpoint(self._store, run, ExportDone)
        if done is not None:
            return done
        table = await self._tables.get(spec.table)
        _fields(table, spec)
        self._records.condition(table, spec.filter)
        now_ms = self._store.clock.now_ms()
        name = f"{table.name}.{spec.format}"
        file = new_file(self._ids.new(now_ms), self._organisation, name, KINDS[spec.format], now_ms, run.id)

        def work(uow: UnitOfWork) -> ExportDone:
            leased_run(uow, run)
            add_file(uow, file)
            begun = ExportDone(file)
            save_checkpoint(uow, run, 0, begun, 0, None)
            return begun

        return await self._store.write(work, run_ids=[run.id], grows=True)

    async def chunk(self, run: Run, spec: ExportTable, done: ExportDone) -> ExportDone:
        """Write the next records into the file, with the cursor in the same transaction; it is whole after the last.

        Raises LeaseLost if the run is not under this lease any more.
        """
        table = await self._tables.get(spec.table)
        fields = _fields(table, spec)
        condition = self._records.condition(table, spec.filter)
        found, after = await self._records.page(table, condition, done.after, RECORDS)
        for record in found:
            if record.damaged:
                raise Damaged(
                    f"the record {record.id} cannot be read: delete it, or leave it out by a filter on others"
                )
        text = written(
            [[record.shown(field.id) for field in fields] for record in found],
            [field.name for field in fields],
            spec.format,
            first=done.records == 0 and done.file.bytes == 0,
            delimiter=spec.delimiter,
            safe=spec.spreadsheet_safe,
        )
        content = (BOM if spec.bom and not done.file.bytes else b"") + text.encode()
        content += b"" if after else ending(spec.format).encode()
        digest = "" if after else await self._digest(done.file, content)
        total = None if spec.filter or table.external else table.count

        def work(uow: UnitOfWork) -> ExportDone:
            leased_run(uow, run)
            file = add_chunk(uow, done.file, content) if content else done.file
            if not after:
                finish(uow, file, digest)
            further = replace(
                done, file=file, after=after, records=done.records + len(found), steps=done.steps + 1, whole=not after
            )
            save_checkpoint(uow, run, further.steps, further, further.records, total)
            return further

        return await self._store.write(work, run_ids=[run.id], grows=True, weight=max(1, len(found)))

    async def _digest(self, file: StoredFile, rest: bytes) -> str:
        """Return the checksum of the whole file: of what is there, perhaps by an earlier attempt, and what is to come."""
        digest = hashlib.sha256()
        async for piece in self._files.content(file):
            digest.update(piece)
        digest.update(rest)
        return digest.hexdigest()


def _fields(table: Table, spec: ExportTable) -> list[Field]:
    if not spec.fields:
        return list(table.fields)
    found = []
    for name in spec.fields:
        field = table.find(name)
        if field is None:
            raise FieldNotFound(
                f"the table {table.name!r} has no field {name[:80]!r}", table=table.name, field=name[:80]
            )
        found.append(field)
    return found
