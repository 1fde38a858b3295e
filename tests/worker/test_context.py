"""What the context offers: checkpoints, waiting, children, progress, logs; in async and in plain functions alike."""

import asyncio
import logging

import pytest
from tests.worker.contexts import KINDS, both, output
from tests.worker.kit import Reports, lease, run

from headway.clock import ManualClock
from headway.errors import LeaseLost, RunStopping, UnknownTask
from headway.protocol.workers import (
    ChildReport,
    ErroredReport,
    LogReport,
    ProgressReport,
    ResultReport,
    SleptReport,
    StepReport,
    StoppedReport,
    SuspendedReport,
)
from headway.worker.context.capture import LogCapture
from headway.worker.context.child_runs import StartOptions
from headway.worker.context.current import context
from headway.worker.context.interrupts import ChildFailed
from headway.worker.declaration.app import App


@KINDS
def test_a_step_is_recorded_and_not_called_again(kind):
    calls = []

    async def body(ctx):
        return [await ctx.step("fetch", lambda n: calls.append(n) or {"n": n}, n) for n in (1, 2)]

    app = both(body)
    outcome, sink = run(app, lease(kind))
    assert output(outcome) == [{"n": 1}, {"n": 2}]
    assert [(report.name, bytes(report.value)) for report in sink.of(StepReport)] == [
        ("fetch", b'{"n":1}'),
        ("fetch#2", b'{"n":2}'),
    ]
    outcome, sink = run(app, lease(kind, steps={"fetch": {"n": 10}, "fetch#2": {"n": 20}}))
    assert output(outcome) == [{"n": 10}, {"n": 20}]
    assert sink.all == []
    assert calls == [1, 2]


def test_a_step_may_be_async_and_knows_its_idempotency_key():
    app = App()

    @app.task(name="t")
    async def body(ctx):
        async def charge():
            return ctx.idempotency_key_for("card"), ctx.idempotency_key

        return [ctx.idempotency_key, *await ctx.step("charge", charge)]

    assert output(run(app, lease("t"))[0]) == ["run", "run/charge/card", "run/charge"]


@KINDS
@pytest.mark.parametrize(
    ("refusal", "end"), [(LeaseLost(), type(None)), (RunStopping(), StoppedReport), (UnknownTask(), ErroredReport)]
)
def test_a_refused_checkpoint_ends_the_function(kind, refusal, end):
    async def body(ctx):
        await ctx.step("a", lambda: 1)

    assert isinstance(run(both(body), lease(kind), Reports(refuse=refusal))[0], end)


@pytest.mark.parametrize("name", ["", "signal:a", "sleep:1", "a\nb", "x" * 300, 7])
def test_names_that_cannot_be_are_refused(name):
    async def body(ctx):
        await ctx.step(name, lambda: 1)

    assert run(both(body), lease("async"))[0].error.type in {"ValueError", "AttributeError"}


@KINDS
def test_a_long_sleep_lets_go_and_is_over_on_the_next_attempt(kind):
    async def body(ctx):
        await ctx.sleep("1h")
        return "awake"

    clock = ManualClock(1_800_000_000_000)
    outcome, sink = run(both(body), lease(kind), clock=clock)
    assert outcome == SleptReport(run_id="run", epoch=1, until="2027-01-15T09:00:00.000Z")
    (step,) = sink.of(StepReport)
    assert (step.name, bytes(step.value)) == ("sleep:1", b"1800003600000")
    clock.advance(3_600_000)
    assert output(run(both(body), lease(kind, steps={"sleep:1": 1800003600000}), clock=clock)[0]) == "awake"


@KINDS
def test_a_signal_is_waited_for_without_a_worker(kind):
    async def body(ctx):
        return [await ctx.wait_for_signal("approved"), await ctx.wait_for_signal("approved")]

    outcome, _ = run(both(body), lease(kind, steps={"signal:approved#1": {"by": "Ann"}}))
    assert isinstance(outcome, SuspendedReport)
    assert [(b.kind, b.name, b.number) for b in outcome.blockers] == [("signal", "approved", 2)]
    steps = {"signal:approved#1": 1, "signal:approved#2": 2}
    assert output(run(both(body), lease(kind, steps=steps))[0]) == [1, 2]


@KINDS
def test_a_signal_that_does_not_come_in_time_is_a_timeout(kind):
    async def body(ctx):
        try:
            return await ctx.wait_for_signal("approved", timeout="1h")
        except TimeoutError:
            return "late"

    clock = ManualClock(1_000_000)
    outcome, sink = run(both(body), lease(kind), clock=clock)
    assert (outcome.timeout, bytes(sink.of(StepReport)[0].value)) == ("1h", b"4600000")
    steps = {"signal-timeout:approved#1": 4_600_000}
    clock.advance(3_600_000)
    outcome, sink = run(both(body), lease(kind, steps=steps), clock=clock)
    assert output(outcome) == "late"
    assert [step.name for step in sink.of(StepReport)] == ["signal-expired:approved#1"]
    steps |= {"signal-expired:approved#1": True, "signal:approved#1": "too late"}
    assert output(run(both(body), lease(kind, steps=steps), clock=clock)[0]) == "late"


@KINDS
def test_suspend_returns_once_the_run_is_resumed(kind):
    async def body(ctx):
        return await ctx.suspend("paid", "packed", timeout="2d")

    outcome, sink = run(both(body), lease(kind))
    assert ([b.name for b in outcome.blockers], outcome.timeout) == (["paid", "packed"], "2d")
    assert [step.name for step in sink.of(StepReport)] == ["suspend:1"]
    steps = {"suspend:1": True, "signal:paid#1": 5}
    assert output(run(both(body), lease(kind, steps=steps))[0]) == {"paid": 5}


@KINDS
def test_a_token_is_asked_for_and_waited_for(kind):
    async def body(ctx):
        return [await ctx.token("approval"), await ctx.wait_for_token("approval")]

    assert run(both(body), lease(kind))[0].blockers[0].name == "token:approval"
    assert output(run(both(body), lease(kind, steps={"signal:token:approval#1": "yes"}))[0]) == ["tok-1", "yes"]


@KINDS
def test_a_child_is_started_once_and_waited_for(kind):
    async def body(ctx):
        child = await ctx.start("zip", None, StartOptions(priority=9, delay="5s"), folder="/srv")
        return await ctx.results(child)

    outcome, sink = run(both(body), lease(kind))
    (report,) = sink.of(ChildReport)
    assert (report.name, report.run.task, bytes(report.run.input)) == ("child:zip#1", "zip", b'{"folder":"/srv"}')
    assert (report.run.parent_id, report.run.priority, report.run.delay) == ("run", 9, "5s")
    assert [(b.kind, b.run_id) for b in outcome.blockers] == [("run", "child-1")]
    steps = {"child:zip#1": "child-1", "child-result:child-1": {"state": "succeeded", "output": 42, "error": None}}
    outcome, sink = run(both(body), lease(kind, steps=steps))
    assert (output(outcome), sink.all) == ([42], [])


def test_a_child_that_failed_raises():
    app = App()

    @app.task(name="t")
    async def body(ctx):
        with pytest.raises(ChildFailed) as caught:
            await (await ctx.start("zip")).result()
        return caught.value.error

    ended = {"state": "failed", "output": None, "error": {"code": "x", "message": "no"}}
    assert output(run(app, lease("t", steps={"child-result:child-1": ended}))[0]) == {"code": "x", "message": "no"}


def test_children_awaited_together_are_waited_for_together():
    app = App()

    @app.task(name="t")
    async def body(ctx):
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.wait_for_signal("a"))
            group.create_task(ctx.wait_for_signal("b"))

    assert [blocker.name for blocker in run(app, lease("t"))[0].blockers] == ["a", "b"]


@pytest.mark.parametrize("given", [{"priority": 11}, {"labels": {"a": 1}}, {"delay": "soon"}])
def test_a_child_that_the_server_would_refuse_fails_where_it_is_started(given):
    app = App()

    @app.task(name="t")
    async def body(ctx):
        await ctx.start("zip", None, StartOptions(**given))

    outcome, sink = run(app, lease("t"))
    assert isinstance(outcome, ErroredReport)
    assert sink.all == []


def test_progress_results_and_logs_are_reported_in_order():
    app = App()

    @app.task(name="t")
    def body(ctx):
        ctx.progress(1, 2, "half")
        ctx.publish({"page": 1}, name="page")
        ctx.log("hello \ud800", "warning", path=object, n=1)

    _, sink = run(app, lease("t"))
    progress, result, log = sink.all
    assert (progress.done, progress.total, progress.message) == (1, 2, "half")
    assert (bytes(result.value), result.name) == (b'{"page":1}', "page")
    assert (log.message, log.level, log.fields) == ("hello ?", "warning", {"path": "<class 'object'>", "n": "1"})


def test_track_counts_both_kinds_of_loops():
    app = App()

    async def letters():
        for letter in "ab":
            yield letter

    @app.task(name="t")
    async def body(ctx):
        seen = [x for x in ctx.track([1, 2], message=str)]  # noqa: C416
        seen += [x async for x in ctx.track(range(2))]
        return seen + [x async for x in ctx.track(letters(), total=9)]

    outcome, sink = run(app, lease("t"))
    assert output(outcome) == [1, 2, 0, 1, "a", "b"]
    done = [(report.done, report.total) for report in sink.of(ProgressReport)]
    assert done == [(0, 2), (1, 2), (1, 2), (2, 2)] * 2 + [(0, 9), (1, 9), (1, 9), (2, 9)]
    assert sink.all[2].message == "2"


def test_logging_inside_a_run_goes_to_its_log():
    app = App()

    @app.task(name="t")
    async def body():
        logging.getLogger("shop").info("sold %d", 3)
        logging.getLogger("shop").debug("quiet")
        context().publish(1)

    logging.getLogger("shop").setLevel(logging.INFO)
    captured = LogCapture()
    try:
        _, sink = run(app, lease("t"))
    finally:
        captured.remove()
    (log,) = sink.of(LogReport)
    assert (log.message, log.level, log.fields) == ("sold 3", "info", {"logger": "shop"})
    assert len(sink.of(ResultReport)) == 1


def test_there_is_no_context_outside_of_runs():
    with pytest.raises(LookupError):
        context()
