"""Reports: fenced by the lease, taken in order, and refused one by one."""

import json
import random
from typing import get_args

import msgspec
import pytest
from tests.harness import declare, in_memory, raw, spec

from headway.errors import HeadwayError
from headway.protocol import workers as wire
from headway.runs.reporting import EVENTS

EVERY = {
    "progress": (wire.ProgressReport, {"done": 1}),
    "log": (wire.LogReport, {"message": "m"}),
    "result": (wire.ResultReport, {"value": raw(1)}),
    "step": (wire.StepReport, {"name": "s", "value": raw(1)}),
    "child": (wire.ChildReport, {"name": "c", "run": spec("t")}),
    "token": (wire.TokenReport, {"name": "x"}),
    "succeeded": (wire.SucceededReport, {"output": raw(1)}),
    "errored": (wire.ErroredReport, {"error": wire.FunctionError()}),
    "suspended": (wire.SuspendedReport, {"blockers": [], "timeout": "1s"}),
    "slept": (wire.SleptReport, {"until": "2100-01-01T00:00:00Z"}),
    "released": (wire.ReleasedReport, {}),
    "stopped": (wire.StoppedReport, {}),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("stale", ["older epoch", "newer epoch", "other worker", "unknown run", "final run"])
async def test_a_worker_that_lost_its_lease_changes_nothing(harness, name, stale):
    kind, fields = EVERY[name]
    worker, other = await harness.worker(), await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    epoch = lease.epoch + {"older epoch": -1, "newer epoch": 1}.get(stale, 0)
    if stale == "final run":
        await harness.succeed(worker, lease)
    run_id = "01890000-0000-7000-8000-00000000abcd" if stale == "unknown run" else run.id
    before = harness.dump()
    answer = await harness.report(
        other if stale == "other worker" else worker, kind(run_id=run_id, epoch=epoch, **fields)
    )
    assert [(0, 409, "lease_lost")] == [(r.index, r.status, r.code) for r in answer.rejected]
    assert [] == answer.replies
    assert before == harness.dump()


@pytest.mark.parametrize("name", EVERY)
async def test_a_lease_that_went_to_another_attempt_is_lost_for_the_first(harness, name):
    kind, fields = EVERY[name]
    worker, other = await harness.worker(), await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    await harness.service.leases.lapse(harness.sessions.get(worker))
    assert lease.epoch + 1 == (await harness.one(other)).epoch
    with pytest.raises(HeadwayError) as caught:
        await harness.report(worker, kind(run_id=lease.run_id, epoch=lease.epoch, **fields))
    assert "worker_not_found" == caught.value.code
    late = await harness.report(other, kind(run_id=lease.run_id, epoch=lease.epoch, **fields))
    assert "lease_lost" == late.rejected[0].code
    assert "running" == await harness.state(lease.run_id)


async def test_reports_of_one_request_are_taken_in_order_and_refused_one_by_one(harness):
    worker = await harness.worker()
    runs = [await harness.start() for _ in range(3)]
    a, b, c = await harness.claim(worker)
    answer = await harness.report(
        worker,
        wire.ProgressReport(run_id=a.run_id, epoch=a.epoch, done=5, total=10),
        wire.SucceededReport(run_id=a.run_id, epoch=a.epoch, output=raw("a")),
        wire.LogReport(run_id=a.run_id, epoch=a.epoch, message="too late"),
        wire.SucceededReport(run_id=b.run_id, epoch=99),
        wire.ErroredReport(run_id=c.run_id, epoch=c.epoch, error=wire.FunctionError(retryable=False)),
    )
    assert [2, 3] == [rejected.index for rejected in answer.rejected]
    assert ["succeeded", "running", "failed"] == await harness.states(*runs)
    assert (5, '"a"') == ((done := await harness.runs.get(a.run_id)).progress_done, done.output)


@pytest.mark.parametrize("name", ["succeeded", "errored", "suspended", "slept", "released", "stopped"])
async def test_an_outcome_that_comes_while_stopping_ends_the_stop_and_is_not_taken(harness, name):
    kind, fields = EVERY[name]
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    await harness.stop(run.id, reason="enough")
    answer = await harness.report(worker, kind(run_id=lease.run_id, epoch=lease.epoch, **fields))
    assert (["run_stopping"] if name == "succeeded" else []) == [rejected.code for rejected in answer.rejected]
    run = await harness.runs.get(run.id)
    assert ("terminated", None, "enough") == (run.state, run.output, json.loads(run.reason)["message"])


@pytest.mark.parametrize(
    ("output", "code"),
    [(b'"' + b"x" * 200 + b'"', "output_too_large"), (b"NaN", "invalid_output"), (b'"\\ud800"', "invalid_output"),
     (b"[" * 500 + b"]" * 500, "invalid_output"), (b"18446744073709551616", "invalid_output")],
)  # fmt: skip
async def test_an_output_that_cannot_be_kept_fails_the_run_for_good(output, code):
    harness = in_memory(output_max=1100 if b"[" in output else 100)
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    await harness.tell(worker, lease, wire.SucceededReport, output=msgspec.Raw(output))
    run = await harness.runs.get(run.id)
    assert ("failed", code, 1) == (run.state, json.loads(run.error)["code"], run.attempt)
    await harness.close()


async def test_a_bad_value_in_a_report_is_refused_in_its_place(harness):
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    assert (400, "malformed_json") == await harness.refused(
        worker, lease, wire.StepReport, name="s", value=msgspec.Raw(b"NaN")
    )
    assert (422, "invalid_input") == await harness.refused(worker, lease, wire.SleptReport, until="later")
    assert (422, "invalid_input") == await harness.refused(worker, lease, wire.SuspendedReport, blockers=[])
    assert (422, "unknown_task") == await harness.refused(
        worker, lease, wire.ChildReport, name="c", run=spec("unknown")
    )
    assert "running" == await harness.state(lease.run_id)


async def test_steps_are_recorded_once_and_handed_to_the_next_attempt(harness):
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    await harness.tell(worker, lease, wire.StepReport, name="s", value=raw(1))
    await harness.tell(worker, lease, wire.StepReport, name="s", value=raw(2))
    await harness.tell(worker, lease, wire.ReleasedReport)
    assert {"s": b"1"} == {name: bytes(value) for name, value in (await harness.one(worker)).steps.items()}
    assert 1 == len(await harness.history.events(lease.run_id, 0, 100, "run.step"))


async def test_results_are_numbered_without_gaps_whatever_else_happens(harness):
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    said = [wire.ResultReport(run_id=lease.run_id, epoch=lease.epoch, value=raw(n), name=f"r{n}") for n in range(3)]
    await harness.report(worker, *said)
    await harness.report(worker, *said)
    results, _ = await harness.history.results(lease.run_id, 0, 100)
    assert [(n + 1, f"r{n % 3}", str(n % 3)) for n in range(6)] == [(r.number, r.name, r.value) for r in results]
    results, more = await harness.history.results(lease.run_id, 4, 1)
    assert ([5], True) == ([r.number for r in results], more)


async def test_a_history_is_bounded_and_says_so():
    harness = in_memory(log_lines_max=10)
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    for n in range(30):
        await harness.tell(worker, lease, wire.LogReport, message=f"line {n}", fields={"n": n})
    lines = [json.loads(event.data) for event in await harness.history.events(lease.run_id, 0, 100, "run.log")]
    assert 9 == len(lines)
    assert ("line 0", {"n": 0}) == (lines[0]["message"], lines[0]["fields"])
    assert ("warning", True) == (lines[-1]["level"], "dropped" in lines[-1]["message"])
    await harness.succeed(worker, lease)
    await harness.close()


async def test_a_child_is_started_once_for_a_name(harness):
    worker = await harness.worker()
    parent = await harness.start()
    lease = await harness.one(worker)
    first = await harness.tell(worker, lease, wire.ChildReport, name="c", run=spec("t", [1]))
    again = await harness.tell(worker, lease, wire.ChildReport, name="c", run=spec("t", [2]))
    other = await harness.tell(worker, lease, wire.ChildReport, name="d", run=spec("t", [2]))
    assert first.replies == again.replies != other.replies
    child = await harness.runs.get(first.replies[0].run_id)
    assert (parent.id, parent.id, "child", "[1]") == (child.parent_id, child.root_id, child.run_type, child.input)


async def test_a_step_that_is_no_child_is_not_taken_for_one(harness):
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    await harness.tell(worker, lease, wire.StepReport, name="c", value=raw({"a": 1}))
    assert (422, "invalid_input") == await harness.refused(worker, lease, wire.ChildReport, name="c", run=spec("t"))


@pytest.mark.parametrize(
    "prefix", ["signal:", "child-result:", "failed-child:", "continued-by:", "continued-from:", "step-failure:"]
)
async def test_a_worker_cannot_write_the_steps_that_the_server_trusts(harness, prefix):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    forged = f"{prefix}{run.id}"
    for kind, more in (
        (wire.StepReport, {"value": raw(True)}),
        (wire.ChildReport, {"run": spec("t")}),
    ):
        assert (422, "invalid_input") == await harness.refused(worker, lease, kind, name=forged, **more)
    assert await harness.store.read.steps(run.id) == []


async def test_progress_is_state_and_not_history(harness):
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    before = await harness.runs.get(lease.run_id)
    harness.clock.advance(1000)
    await harness.tell(worker, lease, wire.ProgressReport, done=5, total=10, message="half")
    after = await harness.runs.get(lease.run_id)
    assert (5, 10, "half", 5.0) == (
        after.progress_done,
        after.progress_total,
        after.progress_message,
        after.progress_rate,
    )
    assert (before.seq, before.version + 1) == (after.seq, after.version)


async def test_failures_are_tried_again_with_growing_waits_until_they_are_spent(harness):
    random.seed(1)
    worker = await harness.worker(declare("t", retry={"max_attempts": 3, "backoff": "1s", "jitter": 0}))
    run = await harness.start()
    for wait_ms in (1_000, 2_000):
        await harness.fail(worker, await harness.one(worker), type="E", message="boom")
        run = await harness.runs.get(run.id)
        assert ("scheduled", harness.clock.now_ms() + wait_ms) == (run.state, run.run_at)
        await harness.advance(wait_ms, worker)
    await harness.fail(worker, await harness.one(worker), type="E", message="boom")
    run = await harness.runs.get(run.id)
    assert ("failed", 3, "boom") == (run.state, run.attempt, json.loads(run.error)["message"])
    assert ["errored"] * 3 == [attempt.outcome for attempt in await harness.history.attempts(run.id)]


async def test_a_failure_may_say_when_to_try_again_and_that_it_is_final(harness):
    worker = await harness.worker(declare("t", retry={"do_not_retry": ["Never"]}))
    runs = [await harness.start() for _ in range(3)]
    later, never, final = await harness.claim(worker)
    await harness.tell(worker, later, wire.ErroredReport, error=wire.FunctionError(), retry_after="7s")
    await harness.fail(worker, never, type="Never")
    await harness.fail(worker, final, retryable=False)
    assert ["scheduled", "failed", "failed"] == await harness.states(*runs)
    assert harness.clock.now_ms() + 7_000 == (await harness.runs.get(runs[0].id)).run_at


async def test_a_run_that_takes_its_worker_down_three_times_is_poison(harness):
    run = None
    for crash in range(3):
        worker = await harness.worker()
        run = run or await harness.start()
        assert crash == (await harness.one(worker)).crashes
        await harness.advance(15_000)
    run = await harness.runs.get(run.id)
    assert ("failed", "poison", 3) == (run.state, json.loads(run.error)["code"], run.crashes)
    assert ["crashed"] * 3 == [attempt.outcome for attempt in await harness.history.attempts(run.id)]


async def test_crashes_do_not_use_up_retries_and_hand_backs_count_as_nothing(harness):
    worker = await harness.worker(declare("t", retry={"max_attempts": 2, "backoff": "0s"}))
    run = await harness.start()
    for kind in ("crash", "release", "fail", "release", "crash"):
        lease = await harness.one(worker)
        if kind == "release":
            await harness.tell(worker, lease, wire.ReleasedReport)
        else:
            await harness.fail(worker, lease, code="crashed" if kind == "crash" else "exception")
        await harness.tick()
    lease = await harness.one(worker)
    assert (4, 2, 6) == (lease.attempt, lease.crashes, lease.epoch)
    await harness.succeed(worker, lease)
    assert "succeeded" == await harness.state(run.id)


async def test_an_attempt_that_goes_on_too_long_is_ended_by_the_server(harness):
    worker = await harness.worker(declare("t", timeout="10s", grace="5s", retry={"max_attempts": 1}))
    run = await harness.start()
    lease = await harness.one(worker)
    await harness.advance(24_999, worker)
    assert "running" == await harness.state(run.id)
    await harness.advance(1, worker)
    run = await harness.runs.get(run.id)
    assert ("failed", "timeout") == (run.state, json.loads(run.error)["code"])
    assert (409, "lease_lost") == await harness.refused(worker, lease, wire.SucceededReport)


async def test_why_a_run_runs_names_its_worker_its_life_and_what_blocks_its_loop(harness):
    worker = await harness.worker(name="ada", host="vm", pid=7)
    run, other = await harness.start(), await harness.start()
    first, second = await harness.one(worker), await harness.one(worker)
    assert ["running", "heard", "progress"] == await harness.why(run.id)
    held = [(lease.run_id, lease.epoch) for lease in (first, second)]
    blocked = wire.BlockedLoop(for_ms=1_000, task="t", run_id=other.id, where="app.py:3 in f", stack="the stack")
    await harness.workers.report(wire.ReportRuns(worker_id=worker, held=held, blocked=blocked))
    _, causes, work = await harness.history.waiting(run.id)
    assert ("ada (vm:7)", worker) == (work.worker, work.worker_id)
    (cause,) = [cause for cause in causes if cause.code == "loop_blocked"]
    assert f"by the task 't' (run {other.id}), at app.py:3 in f" in cause.message
    assert ("the stack", harness.clock.now_ms() - 1_000) == (cause.details, cause.since)
    await harness.workers.report(wire.ReportRuns(worker_id=worker, held=held))
    assert "loop_blocked" not in await harness.why(run.id)
    await harness.succeed(worker, first)
    assert ["succeeded", "last_worker"] == await harness.why(run.id)
    assert worker == (await harness.history.waiting(run.id))[2].worker_id


async def test_why_a_run_waits_says_that_all_workers_are_full(harness):
    worker = await harness.worker(capacity=1)
    await harness.start()
    run = await harness.start()
    await harness.one(worker)
    assert ["workers_full"] == await harness.why(run.id)
    other = await harness.worker(capacity=1)
    assert ["next"] == await harness.why(run.id)
    await harness.workers.report(wire.ReportRuns(worker_id=other, held=[], blocked=wire.BlockedLoop(for_ms=1_000)))
    assert ["workers_blocked"] == await harness.why(run.id)


async def test_a_failed_try_of_a_step_is_recorded_once_and_told_in_the_history(harness):
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    error = wire.FunctionError(type="ConnectionError", message="refused", details="Traceback …")
    said = {"name": "pay", "number": 1, "error": error, "retry_at": "2027-01-15T09:00:00.000Z"}
    for _ in range(2):
        await harness.tell(worker, lease, wire.StepFailureReport, **said)
    await harness.tell(worker, lease, wire.StepFailureReport, name="pay", number=2, error=error)
    await harness.tell(worker, lease, wire.ReleasedReport)
    kept = {name: json.loads(bytes(value)) for name, value in (await harness.one(worker)).steps.items()}
    short = {"type": "ConnectionError", "message": "refused"}
    assert {"step-failure:pay:1": {"retry_at": 1_800_003_600_000, **short}, "step-failure:pay:2": short} == kept
    first, second = [json.loads(e.data) for e in await harness.history.events(lease.run_id, 0, 9, "run.step_failed")]
    assert {
        "name": "pay",
        "number": 1,
        "attempt": 1,
        "retry_at": said["retry_at"],
        "error": short | {"details": "Traceback …"},
    } == first
    assert (2, None) == (second["number"], second["retry_at"])


async def test_a_failed_try_of_a_step_that_makes_no_sense_is_refused_in_its_place(harness):
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    said = {"name": "pay", "number": 1, "error": wire.FunctionError()}
    assert (422, "invalid_input") == await harness.refused(
        worker, lease, wire.StepFailureReport, retry_at="soon", **said
    )
    assert "running" == await harness.state(lease.run_id)


def test_every_report_that_ends_an_attempt_has_an_event():
    assert set(EVENTS) == set(get_args(wire.OutcomeReport))
