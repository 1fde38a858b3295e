"""headway.import: records from an uploaded file, some hundred rows a transaction, each with its cursor."""

from __future__ import annotations

from typing import Final

import msgspec

from headway.features.tables.imports import Imports
from headway.kernel.run import Run
from headway.protocol.tables import ImportFile
from headway.runs.built_in.task import MAX_CRASHES, built_in
from headway.runs.service import Service


async def execute(service: Service, run: Run) -> msgspec.Raw:
    """Import the file, and continue after an earlier attempt's cursor. The output counts rows by outcome."""
    imports = service.of(run.organisation).get(Imports)
    spec = msgspec.json.decode(run.input, type=ImportFile)
    done = await imports.begin(run, spec)
    while (further := await imports.chunk(run, spec, done)) is not None:
        done = further
    return msgspec.Raw(
        msgspec.json.encode(
            {"rows": done.rows, "created": done.created, "updated": done.updated, "refused": done.refused}
        )
    )


TASK: Final = built_in("headway.import", "Records from an uploaded file.", ImportFile, execute, max_crashes=MAX_CRASHES)
