"""headway.export: the records of a table as a file, a thousand a transaction, each with its cursor."""

from __future__ import annotations

from typing import Final

import msgspec

from headway.features.tables.exports import Exports
from headway.kernel.run import Run
from headway.protocol.tables import ExportTable
from headway.runs.built_in.task import MAX_CRASHES, built_in
from headway.runs.service import Service


async def execute(service: Service, run: Run) -> msgspec.Raw:
    """Write the file, and continue after an earlier attempt's cursor. The output names the file."""
    exports = service.of(run.organisation).get(Exports)
    spec = msgspec.json.decode(run.input, type=ExportTable)
    done = await exports.begin(run, spec)
    while not done.whole:
        done = await exports.chunk(run, spec, done)
    file = done.file
    return msgspec.Raw(msgspec.json.encode({"file": file.id, "records": done.records, "bytes": file.bytes}))


TASK: Final = built_in(
    "headway.export", "The records of a table as a file.", ExportTable, execute, max_crashes=MAX_CRASHES
)
