"""Steps that are tried again by themselves: their tries are counted over all attempts, and none is an attempt of the run."""

import asyncio
import functools

import msgspec
import pytest
from tests.worker.contexts import KINDS, both, output
from tests.worker.kit import lease, run

from headway.clock import ManualClock
from headway.protocol.workers import (
    ErroredReport,
    SleptReport,
    StepFailureReport,
    StoppedReport,
    SuspendedReport,
)
from headway.worker.context.interrupts import Cause, ChildFailed, Fail, RetryLater, StepFailed, SuspendRun
from headway.worker.declaration.app import App
from headway.worker.declaration.options import Retry

SOON = Retry(max_attempts=3, backoff="1ms", jitter=0)
LATER = Retry(max_attempts=3, backoff="10s", jitter=0)


class Flaky:
    """Fails so often before it returns."""

    def __init__(self, failures, error=ConnectionError):
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self):
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error(f"no {self.calls}") if isinstance(self.error, type) else self.error
        return self.calls


def failure(number, retry_at=None, name="s"):
    """Return the steps of a lease that has recorded a failed try."""
    return {
        f"step-failure:{name}:{number}": {"retry_at": retry_at, "type": "ConnectionError", "message": f"no {number}"}
    }


def once(function, policy, name="s"):
    async def body(ctx):
        return await ctx.step(name, function, retry=policy)

    return both(body)


@KINDS
def test_a_step_is_tried_again_in_the_same_attempt_after_a_short_wait(kind):
    flaky = Flaky(2)
    outcome, sink = run(once(flaky, SOON), lease(kind))
    assert (3, 3) == (output(outcome), flaky.calls)
    reports = sink.of(StepFailureReport)
    assert [(1, "no 1"), (2, "no 2")] == [(report.number, report.error.message) for report in reports]
    assert all(report.retry_at and "Traceback" in report.error.details for report in reports)


@KINDS
def test_a_step_that_has_a_long_wait_lets_go_of_the_worker_until_then(kind):
    clock, flaky = ManualClock(1_000_000), Flaky(1)
    outcome, sink = run(once(flaky, LATER), lease(kind), clock=clock)
    assert isinstance(outcome, SleptReport)
    (report,) = sink.of(StepFailureReport)
    assert report.retry_at == outcome.until == "1970-01-01T00:16:50.000Z"


@KINDS
def test_a_step_whose_wait_is_not_over_waits_on_and_is_not_called(kind):
    clock, flaky = ManualClock(1_000_000), Flaky(0)
    one = lease(kind, steps=failure(1, 1_009_000))
    outcome, sink = run(once(flaky, LATER), one, clock=clock)
    assert ("1970-01-01T00:16:49.000Z", 0, []) == (outcome.until, flaky.calls, sink.all)
    clock.advance(9_000)
    outcome, _ = run(once(flaky, LATER), one, clock=clock)
    assert (1, 1) == (output(outcome), flaky.calls)


@KINDS
@pytest.mark.parametrize("catch", [True, False])
def test_the_tries_are_counted_over_attempts_and_the_last_one_is_the_end(kind, catch):
    flaky = Flaky(9)
    one = lease(kind, steps=failure(1, 1) | failure(2, 1))
    seen = []

    async def body(ctx):
        try:
            return await ctx.step("s", flaky, retry=SOON)
        except StepFailed as error:
            seen.append(error)
            if not catch:
                raise
            return "otherwise"

    outcome, sink = run(both(body), one)
    (report,) = sink.of(StepFailureReport)
    assert (3, None, False, 1) == (report.number, report.retry_at, report.error.retryable, flaky.calls)
    (error,) = seen
    assert ("s", 3, "no 1") == (error.step, error.attempts, error.error["message"])
    assert isinstance(error.__cause__, ConnectionError)
    if catch:
        assert "otherwise" == output(outcome)
    else:
        assert ("StepFailed", False) == (outcome.error.type, outcome.error.retryable), "it would end in the same way"
        assert "the step 's' failed 3 times: ConnectionError: no 1" == outcome.error.message
        assert "ConnectionError" in outcome.error.details


@KINDS
def test_a_step_that_has_failed_for_good_is_not_called_in_later_attempts_whatever_its_policy_is_then(kind):
    flaky = Flaky(0)
    outcome, sink = run(once(flaky, Retry(max_attempts=100)), lease(kind, steps=failure(1, 1) | failure(2)))
    assert ("the step 's' failed 2 times: ConnectionError: no 2", 0, []) == (
        outcome.error.message, flaky.calls, sink.all
    )  # fmt: skip


@KINDS
@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ConnectionError("again"), 3),
        (KeyError("a LookupError"), 1),
        (ChildFailed("id", "failed", None), 1),
        (ExceptionGroup("several", [ConnectionError(), KeyError()]), 1),
    ],
)
def test_what_is_not_to_be_retried_fails_the_step_at_once(kind, error, calls):
    flaky = Flaky(9, error)
    policy = Retry(max_attempts=3, backoff=0, do_not_retry=(LookupError,))
    outcome, sink = run(once(flaky, policy), lease(kind))
    assert ("StepFailed", calls, calls) == (outcome.error.type, flaky.calls, len(sink.of(StepFailureReport)))


@KINDS
def test_a_final_failure_in_a_step_ends_the_run_as_everywhere(kind):
    flaky = Flaky(9, Fail("no such customer", code="no_customer"))
    outcome, sink = run(once(flaky, SOON), lease(kind))
    assert ("no_customer", False, 1, []) == (outcome.error.code, outcome.error.retryable, flaky.calls, sink.all)


@KINDS
def test_a_step_says_itself_when_it_is_to_be_tried_again(kind):
    clock = ManualClock(1_000_000)
    outcome, _ = run(once(Flaky(1, RetryLater("1m")), SOON), lease(kind), clock=clock)
    assert "1970-01-01T00:17:40.000Z" == outcome.until


@KINDS
def test_a_wait_within_a_step_is_no_failure_of_it(kind):
    def wait():
        raise SuspendRun([])

    outcome, sink = run(once(wait, SOON), lease(kind))
    assert isinstance(outcome, SuspendedReport)
    assert [] == sink.all


@KINDS
def test_a_step_without_retry_fails_its_attempt_as_before(kind):
    flaky = Flaky(1)
    outcome, sink = run(once(flaky, None), lease(kind))
    assert isinstance(outcome, ErroredReport)
    assert ("ConnectionError", True, []) == (outcome.error.type, outcome.error.retryable, sink.all)


@KINDS
@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (3, "TypeError: retry= of a step takes a headway.Retry"),
        (Retry(max_attempts=0), "ValueError: this cannot be the retry"),
    ],
)
def test_a_policy_that_is_none_is_refused_before_anything_is_called(kind, policy, error):
    flaky = Flaky(0)
    outcome, _ = run(once(flaky, policy), lease(kind))
    assert f"{outcome.error.type}: {outcome.error.message}".startswith(error)
    assert 0 == flaky.calls


@KINDS
def test_a_function_that_takes_a_retry_gets_its_own_by_a_partial(kind):
    async def body(ctx):
        return await ctx.step("s", functools.partial(lambda retry: retry, retry=7))

    assert 7 == output(run(both(body), lease(kind))[0])


@KINDS
def test_steps_within_a_step_keep_their_names_in_each_try_of_it(kind):
    outer, inner = Flaky(2), Flaky(0)

    async def body(ctx):
        if kind == "async":

            async def whole():
                await ctx.step("inner", inner)
                return outer()
        else:

            def whole():
                ctx._ctx.step("inner", inner)
                return outer()

        return [await ctx.step("outer", whole, retry=SOON), await ctx.step("inner", inner)]

    outcome, sink = run(both(body), lease(kind))
    assert [3, 2] == output(outcome), "the inner one is called once for all tries of the outer one, and once after it"
    names = [getattr(report, "name", "") for report in sink.all if not isinstance(report, StepFailureReport)]
    assert ["inner", "outer", "inner#2"] == names


def test_a_step_waits_on_the_worker_as_long_as_another_one_is_under_way():
    clock, done = ManualClock(1_000_000), []
    app = App()

    @app.task(name="t")
    async def body(ctx):
        async def slow():
            for _ in range(20):
                await asyncio.sleep(0)
            done.append("slow")

        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("slow", slow))
            group.create_task(ctx.step("s", Flaky(1), retry=LATER))

    outcome, _ = run(app, lease("t"), clock=clock)
    assert ["slow"] == done, "what was under way is done and recorded before the worker is let go of"
    assert isinstance(outcome, SleptReport)


def test_a_step_that_the_function_has_left_behind_is_not_called_any_more():
    app, flaky, called = App(), Flaky(1), asyncio.Event()

    def failing():
        called.set()
        return flaky()

    @app.task(name="t")
    async def body(ctx):
        left = asyncio.create_task(ctx.step("s", failing, retry=SOON))
        await called.wait()
        ctx._attempt.over = True
        with pytest.raises(asyncio.CancelledError):
            await left
        ctx._attempt.over = False

    assert output(run(app, lease("t"))[0]) is None
    assert 1 == flaky.calls


@KINDS
@pytest.mark.parametrize("cause", [Cause.STOP, Cause.DRAIN, Cause.TIMEOUT])
def test_a_run_that_is_cancelled_while_a_step_waits_ends_at_once(kind, cause):
    """The wait is on the worker: a second and a half, of which nothing is waited for."""
    flaky = Flaky(9)

    async def body(ctx):
        attempt = ctx._attempt

        def failing():
            if kind == "async":
                asyncio.get_running_loop().call_soon(attempt.cancel, cause)
            else:
                attempt.cancel(cause)
            return flaky()

        return await ctx.step("s", failing, retry=Retry(max_attempts=3, backoff="1500ms", jitter=0))

    outcome, _ = run(both(body), lease(kind))
    assert 1 == flaky.calls
    if cause is Cause.STOP:
        assert isinstance(outcome, StoppedReport)
    assert not isinstance(outcome, SleptReport)


@pytest.mark.parametrize("length", [1, 190])
def test_failures_of_steps_with_any_name_are_taken_by_the_wire(length):
    name = "x" * length
    _, sink = run(once(Flaky(1), SOON, name), lease("async"))
    for report in sink.of(StepFailureReport):
        assert report == msgspec.json.decode(msgspec.json.encode(report), type=StepFailureReport)
