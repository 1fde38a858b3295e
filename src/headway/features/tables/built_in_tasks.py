"""Built-in tasks of tables: `headway.import` and `headway.export`, in transactions that each save a checkpoint."""

from __future__ import annotations

from typing import Final

import msgspec

from headway.features.tables.exports import Exports
from headway.features.tables.imports import Imports
from headway.kernel.run import Run
from headway.protocol.tables import ExportTable, ImportFile
from headway.runs.built_in.task import MAX_CRASHES, built_in
from headway.runs.service import Service


async def execute_import(service: Service, run: Run) -> msgspec.Raw:
    """Import the file from the last checkpoint on; the output counts rows by outcome."""
    imports = service.of(run.organisation).get(Imports)
    spec = msgspec.json.decode(run.input, type=ImportFile)
    checkpoint = await imports.begin(run, spec)
    while (after := await imports.chunk(run, spec, checkpoint)) is not None:
        checkpoint = after
    counts = {name: getattr(checkpoint, name) for name in ("rows", "created", "updated", "refused")}
    return msgspec.Raw(msgspec.json.encode(counts))


async def execute_export(service: Service, run: Run) -> msgspec.Raw:
    """Write the file from the last checkpoint on; the output names the file."""
    exports = service.of(run.organisation).get(Exports)
    spec = msgspec.json.decode(run.input, type=ExportTable)
    checkpoint = await exports.begin(run, spec)
    while not checkpoint.whole:
        checkpoint = await exports.chunk(run, spec, checkpoint)
    file = checkpoint.file
    return msgspec.Raw(msgspec.json.encode({"file": file.id, "records": checkpoint.records, "bytes": file.bytes}))


TASKS: Final = (
    built_in("headway.import", "Records from an uploaded file.", ImportFile, execute_import, max_crashes=MAX_CRASHES),
    built_in(
        "headway.export", "The records of a table as a file.", ExportTable, execute_export, max_crashes=MAX_CRASHES
    ),
)
