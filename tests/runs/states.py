"""Runs brought into each state."""

from headway.protocol import workers as wire


async def bring(harness, worker, state):
    """Return a run in the state."""
    run = await harness.start(**({"delay": "1h"} if state == "scheduled" else {}))
    if state in ("scheduled", "queued"):
        return run
    lease = await harness.one(worker)
    match state:
        case "suspended":
            await harness.tell(worker, lease, wire.SuspendedReport, blockers=[], timeout="1h")
        case "stopping" | "terminated":
            await harness.stop(run.id, reason="first", actor="ann")
            if state == "terminated":
                await harness.tell(worker, lease, wire.StoppedReport)
        case "succeeded":
            await harness.succeed(worker, lease)
        case "failed":
            await harness.fail(worker, lease, retryable=False)
    assert state == await harness.state(run.id)
    return run
