"""headway.bulk: one verb on every run that a filter names, a chunk at a time, each chunk with its cursor."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from headway.kernel.run import Run
from headway.kernel.space import Space
from headway.protocol.runs import BulkAction
from headway.runs.filters import to_filter
from headway.runs.service import Service

NAME = "headway.bulk"


async def execute(service: Service, run: Run) -> msgspec.Raw:
    """Apply the action to the runs that matched at its start, and continue after an earlier attempt's cursor."""
    action = msgspec.json.decode(run.input, type=BulkAction)
    wanted = Space(run.organisation).wanted(to_filter(action.filter))
    if wanted.created_before is None:  # what comes later, also in the same millisecond, has a higher id
        wanted = replace(wanted, created_before=run.created_at + 1)
    done = await service.bulk.begin(run, wanted)
    while (further := await service.bulk.chunk(run, wanted, action, done)) is not None:
        done = further
    return msgspec.Raw(msgspec.json.encode({"changed": done.changed, "passed_over": done.passed}))
