"""Retries over HTTP: from what succeeded, or from scratch."""

import pytest

from headway.protocol import workers as wire


async def failed(server):
    """Return the id of a run that has failed after a step."""
    run_id = await server.start()
    (lease,) = await server.claim()
    error = wire.FunctionError(message="no", retryable=False)
    step = wire.StepReport(run_id=run_id, epoch=lease.epoch, name="a", value=wire.Raw(b"1"))
    ended = wire.ErroredReport(run_id=run_id, epoch=lease.epoch, error=error)
    await server.service.of(1).workers.report(wire.ReportRuns(worker_id=server.worker, reports=[step, ended]))
    return run_id


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (None, {"a"}),
        ({}, {"a"}),
        ({"reason": "mended", "from_scratch": False}, {"a"}),
        ({"from_scratch": True}, set()),
    ],
)
async def test_a_retry_goes_on_from_what_succeeded_unless_it_is_from_scratch(serving, body, names):
    async with serving() as server:
        run_id = await failed(server)
        again = await server.post(f"/v1/runs/{run_id}:retry", body)
        assert (202, run_id) == (again.status, again.json["previous_id"])
        (lease,) = await server.claim()
        assert names == {name for name in lease.steps if name != "continued-from:"}


@pytest.mark.parametrize("body", [{"input": {}}, {"from_scratch": "yes"}, {"fromScratch": True}])
async def test_a_retry_takes_nothing_else_and_no_other_input(serving, body):
    async with serving() as server:
        refused = await server.post(f"/v1/runs/{await failed(server)}:retry", body)
        assert refused.status in (400, 422), refused.body


async def test_only_a_bulk_retry_is_from_scratch(serving):
    async with serving() as server:
        body = {"filter": {"state": ["failed"]}, "action": "delete", "from_scratch": True}
        refused = await server.post("/v1/runs:bulk", body)
        assert (422, "/from_scratch") == (refused.status, refused.json["errors"][0]["pointer"])
        assert 200 == (await server.post("/v1/runs:bulk", body | {"action": "retry", "dry_run": True})).status
