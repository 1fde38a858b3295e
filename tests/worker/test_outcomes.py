"""Whatever a function does is one outcome, and never the end of the worker."""

import asyncio
import sys

import pytest
from tests.worker.kit import lease, run

from headway.protocol.workers import (
    BlockerSpec,
    ErroredReport,
    ReleasedReport,
    SleptReport,
    StoppedReport,
    SucceededReport,
    SuspendedReport,
)
from headway.worker.context.interrupts import Cause, ChildFailed, Fail, RetryLater, SignalTimeout, SleepRun, SuspendRun
from headway.worker.context.outcome import of_error, of_value
from headway.worker.declaration.app import App
from headway.worker.declaration.options import Retry


class Odd(Exception):
    pass


class VeryOdd(Odd):
    pass


class Unshowable(Exception):
    def __str__(self):
        raise RuntimeError


def outcome_of(body, **options):
    app = App()
    app.task(name="t", **options)(body)
    return run(app, lease("t"))[0]


def raising(error):
    async def body():
        raise error

    return body


def returning(value):
    def body():
        return value

    return body


@pytest.mark.parametrize("value", [None, 1, "é", {"a": [1.5, None]}, []])
def test_a_value_is_the_output(value):
    import msgspec

    assert msgspec.json.decode(outcome_of(returning(value)).output) == value


@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), {"a": [float("inf")]}, "\ud800", {1j: 2}],
    ids=["object", "nan", "inf", "surrogate", "key"],
)
def test_a_value_that_json_cannot_say_is_a_final_failure(value):
    outcome = outcome_of(returning(value))
    assert (outcome.error.code, outcome.error.retryable) == ("invalid_output", False)


def test_a_value_nested_too_deep_is_a_final_failure():
    value = []
    for _ in range(100_000):
        value = [value]
    assert outcome_of(returning(value)).error.code == "invalid_output"


def test_a_giant_output_is_a_final_failure():
    outcome = outcome_of(returning("x" * (9 << 20)))
    assert (outcome.error.code, outcome.error.retryable) == ("output_too_large", False)


def test_an_exception_is_tried_again_and_shows_its_traceback():
    outcome = outcome_of(raising(Odd("seven")))
    assert (outcome.error.code, outcome.error.type, outcome.error.message) == ("exception", "Odd", "seven")
    assert outcome.error.retryable
    assert "raise error" in outcome.error.details
    assert "headway/worker" not in outcome.error.details


def test_exceptions_named_in_do_not_retry_are_final_with_their_subclasses():
    assert not outcome_of(raising(VeryOdd()), retry=Retry(do_not_retry=(Odd,))).error.retryable
    assert not outcome_of(raising(VeryOdd()), retry=Retry(do_not_retry=("Odd",))).error.retryable
    assert outcome_of(raising(KeyError()), retry=Retry(do_not_retry=(Odd,))).error.retryable


def test_fail_is_final_and_keeps_its_code():
    error = outcome_of(raising(Fail("no such customer", code="no_customer"))).error
    assert (error.code, error.message, error.retryable) == ("no_customer", "no such customer", False)


def test_retry_later_says_when():
    outcome = outcome_of(raising(RetryLater("5m", "busy")))
    assert (outcome.retry_after, outcome.error.retryable, outcome.error.message) == ("5m", True, "busy")


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), MemoryError(), RecursionError(), asyncio.CancelledError(),
              StopAsyncIteration(), Unshowable(), BaseExceptionGroup("many", [KeyboardInterrupt(), Odd()])]
)  # fmt: skip
def test_nothing_that_user_code_raises_ends_the_worker(error):
    outcome = outcome_of(raising(error))
    assert isinstance(outcome, ErroredReport)
    assert outcome.error.type == type(error).__name__


def test_endless_recursion_is_a_failure():
    async def deep():
        def again():
            again()

        again()

    assert outcome_of(deep).error.type == "RecursionError"
    assert len(outcome_of(deep).error.details) <= 20_100


def test_long_messages_are_cut():
    assert len(outcome_of(raising(Odd("x" * 50_000))).error.message) == 10_000


def test_input_that_does_not_fit_is_final():
    app = App()

    @app.task(name="t")
    async def body(n: int): ...

    outcome, _ = run(app, lease("t", input={"n": "seven"}))
    assert (outcome.error.code, outcome.error.retryable) == ("invalid_input", False)


@pytest.mark.parametrize(
    ("cause", "value", "error"),
    [
        (Cause.STOP, SucceededReport, StoppedReport), (Cause.DRAIN, SucceededReport, ReleasedReport), (Cause.LOST, type(None), type(None)),
        (Cause.TIMEOUT, ErroredReport, ErroredReport), (Cause.HEARTBEAT_TIMEOUT, ErroredReport, ErroredReport),
    ],
)  # fmt: skip
def test_a_cancelled_function_ends_as_its_cause_says(cause, value, error):
    app = App()
    task = app.task(name="t")(returning(1))
    assert isinstance(of_value(1, lease("t"), cause), value)
    assert isinstance(of_error(asyncio.CancelledError(), task.do_not_retry, lease("t"), cause), error)


def test_an_exception_after_a_stop_is_reported_as_what_it_is():
    task = App().task(name="t")(returning(1))
    assert isinstance(of_error(Odd(), task.do_not_retry, lease("t"), Cause.STOP), ErroredReport)


def test_calling_sys_exit_in_a_thread_is_a_failure():
    outcome = outcome_of(lambda: sys.exit(3))
    assert outcome.error.type == "SystemExit"


CHILD_FAILED = ChildFailed("id", "failed", {"message": "no"})


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (CHILD_FAILED, False),
        (SignalTimeout("no signal"), False),
        (ExceptionGroup("of a task group", [CHILD_FAILED]), False),
        (ExceptionGroup("of a task group", [Odd(), ExceptionGroup("inner", [CHILD_FAILED])]), False),
        (ExceptionGroup("of a task group", [Odd(), OSError()]), True),
        (ExceptionGroup("of a task group", [VeryOdd(), LookupError()]), False),
        (TimeoutError("of something else"), True),
    ],
)
def test_what_is_recorded_fails_every_attempt_and_is_not_retried(error, retryable):
    assert retryable == outcome_of(raising(error), retry=Retry(do_not_retry=("LookupError",))).error.retryable


def test_a_final_failure_in_a_task_group_is_one():
    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(raising(Fail("no such customer", code="no_customer"))())
            group.create_task(asyncio.sleep(3600))

    error = outcome_of(body).error
    assert ("no_customer", "no such customer", False) == (error.code, error.message, error.retryable)


GO = [BlockerSpec(kind="signal", name="go")]


@pytest.mark.parametrize(
    ("waits", "ends"),
    [
        (
            [SleepRun(2_000, 1_000), SleepRun(1_500, 500)],
            SleptReport(run_id="run", epoch=1, until="1970-01-01T00:00:01.500Z"),
        ),
        ([SleepRun(2_000, 1_000), SuspendRun(GO)], SuspendedReport(run_id="run", epoch=1, blockers=GO, timeout="1s")),
        (
            [SuspendRun(GO, 500), SleepRun(2_000, 1_000)],
            SuspendedReport(run_id="run", epoch=1, blockers=GO, timeout="500ms"),
        ),
        ([SuspendRun(GO)], SuspendedReport(run_id="run", epoch=1, blockers=GO)),
    ],
)
def test_waits_at_the_same_time_end_with_the_first_that_is_over(waits, ends):
    assert ends == outcome_of(raising(BaseExceptionGroup("of a task group", waits)))
