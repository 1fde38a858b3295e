"""Creation of schedules, and their runs and slots."""

import json

import msgspec
from tests.harness import START

from headway.protocol.schedules import CreateSchedule

SECOND = 1_000


MINUTE = 60 * SECOND


HOUR = 60 * MINUTE


def made(kind, **fields):
    return msgspec.json.decode(json.dumps(fields), type=kind)


async def create(harness, occurrence="Every Minute", **fields):
    return await harness.schedules.create(
        made(CreateSchedule, **{"name": "s", "task": "t", "occurrence": occurrence} | fields)
    )


async def slots(harness, named="s", outcome=None):
    """Return (minutes since the start, outcome, why), the oldest first."""
    found, _ = await harness.schedules.slots(named, outcome, None, 1_000)
    return [((slot.nominal - START) / MINUTE, slot.outcome.value, slot.why) for slot in reversed(found)]


async def runs_of(harness, named="s"):
    found, _ = await harness.schedules.slots(named, "ran", None, 1_000)
    return [await harness.runs.get(slot.run_id) for slot in reversed(found)]


async def ran(harness, named="s"):
    return [at for at, outcome, _ in await slots(harness, named) if outcome == "ran"]
