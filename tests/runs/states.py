"""Runs brought into each state."""

from headway.protocol import workers as wire


async def bring(world, worker, state):
    """Return a run in the state."""
    run = await world.start(**({"delay": "1h"} if state == "scheduled" else {}))
    if state in ("scheduled", "queued"):
        return run
    lease = await world.one(worker)
    match state:
        case "suspended":
            await world.tell(worker, lease, wire.SuspendedReport, blockers=[], timeout="1h")
        case "stopping" | "terminated":
            await world.stop(run.id, reason="first", actor="ann")
            if state == "terminated":
                await world.tell(worker, lease, wire.StoppedReport)
        case "succeeded":
            await world.succeed(worker, lease)
        case "failed":
            await world.fail(worker, lease, retryable=False)
    assert state == await world.state(run.id)
    return run
