"""A worker keeps its leases, its promises and its manners, whatever the functions and the server do."""

import asyncio
import threading

import msgspec
import pytest
from tests.worker.kit import FakeLink, lease

from headway.client.errors import UnexpectedAnswer
from headway.errors import HeadwayError, Unavailable
from headway.protocol.workers import (
    ErroredReport,
    ProgressReport,
    ReleasedReport,
    StepReport,
    StoppedReport,
    SucceededReport,
    SuspendedReport,
)
from headway.worker.declaration.app import App
from headway.worker.protocol import claimer
from headway.worker.protocol.session import Backoff


def test_runs_are_claimed_executed_and_reported(start):
    app = App()

    @app.task
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    @app.task
    def triple(n: int) -> int:
        return 3 * n

    works = start(app)
    works.link.give(*(lease(["double", "triple"][n % 2], f"r{n}", input={"n": n}) for n in range(50)))
    works.link.until(lambda: len(works.link.outcomes) == 50)
    assert [msgspec.json.decode(works.link.outcomes[f"r{n}"].output) for n in range(4)] == [0, 3, 4, 9]
    assert works.end() == 0
    assert works.worker.attempts.held == {}


def test_nothing_is_claimed_before_the_server_would_notice_the_workers_end_at_once(start):
    link, asked, may_listen = FakeLink(), threading.Event(), threading.Event()
    opened = link.signals

    def signals(worker_id):
        asked.set()
        assert may_listen.wait(20)
        return opened(worker_id)

    link.signals = signals
    app = App()
    app.task(name="t")(lambda: 7)
    start(app, link)
    assert asked.wait(10)
    link.until(lambda: len(link.beats) >= 3)
    assert link.claims == []
    may_listen.set()
    link.give(lease("t"))
    assert bytes(link.outcome().output) == b"7"


def test_where_nobody_may_listen_runs_are_claimed_all_the_same(start, monkeypatch):
    monkeypatch.setattr(claimer, "LISTENS_S", 0.1)
    link = FakeLink()

    def signals(_):
        raise Unavailable("there are too many streams")

    link.signals = signals
    app = App()
    app.task(name="t")(lambda: 7)
    start(app, link)
    link.give(lease("t"))
    assert bytes(link.outcome().output) == b"7"


def test_an_unknown_task_is_reported_and_may_be_tried_elsewhere(start):
    app = App()
    app.task(name="known")(lambda: None)
    works = start(app)
    works.link.give(lease("unknown"))
    assert (works.link.outcome().error.code, works.link.outcome().error.retryable) == ("task_missing", True)


def test_a_blocked_loop_does_not_hold_up_heartbeats_or_threads(start):
    app, free, blocked = App(), threading.Event(), threading.Event()

    @app.task
    async def block():
        blocked.set()
        free.wait(30)

    app.task(name="thread")(lambda: None)
    works = start(app)
    works.link.give(lease("block"))
    assert blocked.wait(10)
    before = len(works.link.beats)
    works.link.give(lease("thread", "other"))
    works.link.until(lambda: len(works.link.beats) >= before + 5)
    assert isinstance(works.link.outcome("other"), SucceededReport)
    assert works.link.beats[-1] == [("run", 1)]
    free.set()
    assert isinstance(works.link.outcome(), SucceededReport)


def test_a_heartbeat_says_which_claims_are_under_way_and_what_was_heard(start):
    app, go_on = App(), threading.Event()
    app.task(name="waits")(lambda: go_on.wait(30))
    works = start(app)
    link = works.link
    link.until(lambda: len(link.heartbeats) >= 3)
    link.give(lease("waits"))
    link.until(lambda: link.heartbeats[-1].held == [("run", 1)] and link.heartbeats[-1].claiming == [2])
    for number, heartbeat in enumerate(link.heartbeats):
        assert heartbeat.heard == number
        assert heartbeat.held or heartbeat.claiming in ([], [1]), (
            "what the first claim has brought is held before it is over"
        )
    go_on.set()


def test_what_a_claim_brings_while_a_heartbeat_is_made_is_held_or_under_way(start):
    app, go_on = App(), threading.Event()
    app.task(name="waits")(lambda: go_on.wait(30))

    class Held(dict):
        """What the claim brings comes when this is being read."""

        def __iter__(self):
            before = list(self.keys())
            if not before:
                works.link.give(lease("waits"))
                works.link.until(lambda: len(works.link.claims) >= 2 and len(self) == 1)
            return iter(before)

    works = start(app, FakeLink(heartbeat_ms=10_000_000))
    works.link.until(lambda: works.link.claims)
    works.worker.attempts.held = Held()
    assert works.worker._heartbeat.beat()
    assert (works.link.heartbeats[-1].held, works.link.heartbeats[-1].claiming) == ([], [1])
    assert works.worker._heartbeat.beat()
    assert (works.link.heartbeats[-1].held, works.link.heartbeats[-1].claiming) == ([("run", 1)], [2])
    go_on.set()


def test_what_a_blocked_loop_has_not_begun_goes_to_other_workers(start, monkeypatch):
    monkeypatch.setattr("headway.worker.protocol.claimer.STALL_S", 0.05)
    app, free, blocked = App(), threading.Event(), threading.Event()

    @app.task
    async def block():
        blocked.set()
        free.wait(30)

    works = start(app)
    works.link.give(lease("block"))
    assert blocked.wait(10)
    works.link.give(lease("block", "second"))
    assert isinstance(works.link.outcome("second"), ReleasedReport)
    free.set()
    assert isinstance(works.link.outcome(), SucceededReport)


@pytest.mark.parametrize("kind", ["inline", "thread"])
def test_a_stop_is_raised_inside_the_function(start, kind):
    app, begun, seen = App(), threading.Event(), []

    async def inline(ctx):
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            seen.append(error)
            raise

    def thread(ctx):
        begun.set()
        try:
            ctx.sleep(1.9)
            ctx.sleep(1.9)
        except BaseException as error:
            seen.append(error)
            raise

    app.task(name="t")({"inline": inline, "thread": thread}[kind])
    works = start(app)
    works.link.give(lease("t"))
    assert begun.wait(10)
    works.link.stop()
    assert works.link.outcome() == StoppedReport(run_id="run", epoch=1)
    assert isinstance(seen[0], asyncio.CancelledError)


def test_a_stop_before_the_start_needs_no_start(start):
    app, begun, free, calls = App(), threading.Event(), threading.Event(), []

    @app.task
    def busy():
        calls.append(begun.set())
        free.wait(30)

    works = start(app, threads=1)
    works.link.give(lease("busy", "first"), lease("busy", "second"))
    assert begun.wait(10)
    works.link.until(lambda: ("second", 1) in works.worker.attempts.running)
    works.link.stop("second")
    assert isinstance(works.link.outcome("second"), StoppedReport)
    free.set()
    works.link.outcome("first")
    assert len(calls) == 1


def test_a_lost_lease_cancels_and_reports_nothing(start):
    app, begun, ended = App(), threading.Event(), threading.Event()

    @app.task
    async def long(ctx):
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ctx_log = ctx.cancelled
            ended.set()
            assert ctx_log

    works = start(app)
    works.link.give(lease("long"))
    assert begun.wait(10)
    works.link.lost.add("run")
    assert ended.wait(10)
    assert works.end() == 0
    assert works.link.reports == []


def test_a_checkpoint_refused_as_stale_ends_the_attempt_silently(start):
    app = App()

    @app.task
    async def work(ctx):
        await ctx.step("a", lambda: 1)

    works = start(app)
    refused = []
    works.link.refuse = lambda report: refused.append(report) or "lease_lost"
    works.link.give(lease("work"), lease("work", "other"))
    works.link.until(lambda: len(refused) == 2 and not works.worker.attempts.running)
    assert works.end() == 0
    assert [type(report) for report in refused] == [StepReport, StepReport]


def test_leases_are_not_trusted_when_nothing_was_heard_for_as_long_as_they_last_and_handed_back_later(start):
    app, begun, ended = App(), threading.Event(), threading.Event()

    @app.task
    async def long():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    works = start(app, FakeLink(lease_ms=200))
    works.link.give(lease("long"))
    assert begun.wait(10)
    works.link.broken = True
    assert ended.wait(10)
    assert works.link.outcomes == {}
    works.link.broken = False
    assert isinstance(works.link.outcome(), ReleasedReport)
    assert works.end() == 0
    assert works.said == [
        "connected, with 1 task", "no answer from the server for 0.2 s: the run in hand may be another's by now",
    ]  # fmt: skip


def test_what_has_lapsed_is_not_reported_before_a_heartbeat_is_answered(start):
    """A claim of this worker may still wait at the server, and would take the run again, for an answer that is lost."""
    app, begun, ended = App(), threading.Event(), threading.Event()

    @app.task
    async def long():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    link, deaf = FakeLink(lease_ms=200), threading.Event()
    link.fault = lambda request: ConnectionError() if request.held is not None and deaf.is_set() else None
    works = start(app, link)
    link.give(lease("long"))
    assert begun.wait(10)
    deaf.set()
    assert ended.wait(10)
    link.until(lambda: not works.worker.attempts.running)
    assert len(works.worker.report_buffer) == 0
    assert link.outcomes == {}
    deaf.clear()
    assert isinstance(link.outcome(), ReleasedReport)


def test_an_outcome_whose_lease_may_be_anothers_by_now_is_sent_for_the_server_knows(start):
    app, free, begun = App(), threading.Event(), threading.Event()
    app.task(name="t")(lambda: (begun.set(), free.wait(30))[1])
    works = start(app, FakeLink(lease_ms=300))
    works.link.give(lease("t"))
    assert begun.wait(10)
    works.link.broken = True
    free.set()
    session = works.worker.session
    works.link.until(lambda: session._clock.monotonic_ms() > session.lapses_ms() + 300)
    works.link.broken = False
    assert isinstance(works.link.outcome(), SucceededReport)
    assert works.end() == 0


def test_reports_wait_for_the_server_to_come_back(start):
    app = App()
    app.task(name="t")(lambda: 7)
    works = start(app)
    works.link.broken = True
    works.link.give(lease("t"))
    works.link.until(
        lambda: works.link.failures > 3 and works.worker.attempts.held and not works.worker.attempts.running
    )
    works.link.broken = False
    assert bytes(works.link.outcome().output) == b"7"


def test_a_forgotten_worker_registers_again_and_drops_what_it_held(start):
    app, begun, ended = App(), threading.Event(), threading.Event()

    @app.task
    async def long():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    works = start(app)
    works.link.give(lease("long"))
    assert begun.wait(10)
    works.link.forgotten = True
    assert ended.wait(10)
    works.link.until(lambda: works.link.beats and works.link.beats[-1] == [])
    assert works.link.registrations == 2
    assert works.link.outcomes == {}


@pytest.mark.parametrize(("option", "code"), [("timeout", "timeout"), ("heartbeat_timeout", "heartbeat_timeout")])
@pytest.mark.parametrize("kind", ["inline", "thread"])
def test_a_timeout_ends_the_function(start, option, code, kind):
    app = App()

    async def inline(ctx):
        await asyncio.sleep(60)

    def thread(ctx):
        ctx.sleep(1.9)
        ctx.sleep(1.9)

    app.task(name="t", **{option: "50ms"})({"inline": inline, "thread": thread}[kind])
    works = start(app)
    works.link.give(lease("t"))
    assert (works.link.outcome().error.code, works.link.outcome().error.retryable) == (code, True)


def test_a_sign_of_life_holds_off_the_heartbeat_timeout(start):
    app = App()

    @app.task(heartbeat_timeout="300ms")
    async def alive(ctx):
        for n in range(20):
            ctx.progress(n)
            await asyncio.sleep(0.02)

    works = start(app)
    works.link.give(lease("alive"))
    assert isinstance(works.link.outcome(), SucceededReport)


def test_progress_is_coalesced_and_the_last_one_arrives_before_the_outcome(start):
    app = App()

    @app.task
    async def count(ctx):
        async for _ in ctx.track(range(10_000)):
            pass

    works = start(app)
    works.link.give(lease("count"))
    works.link.outcome()
    reports = works.link.reports
    assert isinstance(reports[-1], SucceededReport)
    assert (reports[-2].done, reports[-2].total) == (10_000, 10_000)
    assert len([report for report in reports if isinstance(report, ProgressReport)]) < 10


def test_a_drain_lets_runs_finish(start):
    app, begun, free = App(), threading.Event(), threading.Event()

    @app.task
    def work():
        begun.set()
        free.wait(30)

    works = start(app)
    works.link.give(lease("work"))
    assert begun.wait(10)
    works.worker.drain()
    assert works.link.drained.wait(10)
    free.set()
    assert works.join() == 0
    assert isinstance(works.link.outcomes["run"], SucceededReport)


def test_a_drain_hands_back_what_does_not_finish(start):
    app, begun = App(), threading.Event()

    @app.task
    async def work():
        begun.set()
        await asyncio.sleep(60)

    works = start(app, drain_grace_ms=10)
    works.link.give(lease("work"))
    assert begun.wait(10)
    works.link.ask_drain()
    assert isinstance(works.link.outcome(), ReleasedReport)


def test_a_second_drain_hands_back_at_once(start):
    app, begun, free = App(), threading.Event(), threading.Event()

    @app.task
    def work():
        begun.set()
        free.wait(30)

    works = start(app)
    works.link.give(lease("work"))
    assert begun.wait(10)
    works.worker.drain()
    works.worker.drain(at_once=True)
    assert works.join() == 0
    assert isinstance(works.link.outcomes["run"], ReleasedReport)
    assert "draining: waits for 1 run, 10 s at most; what is left is handed back" in works.said
    free.set()


def test_a_stop_without_grace_ends_a_function_that_heeds_it_and_not_the_worker(start):
    app, begun = App(), threading.Event()

    @app.task
    async def tidy():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)

    app.task(name="next")(lambda: "done")
    works = start(app)
    works.link.give(lease("tidy"))
    assert begun.wait(10)
    works.link.stop(grace_ms=0)
    assert works.link.outcome() == StoppedReport(run_id="run", epoch=1)
    works.link.give(lease("next", "other"))
    assert isinstance(works.link.outcome("other"), SucceededReport)
    assert not works.link.drained.is_set()


def test_a_function_that_ignores_its_end_costs_the_worker_but_the_others_may_finish_first(start):
    app, begun, free, finish = App(), threading.Event(), threading.Event(), threading.Event()
    app.task(name="bad")(lambda: (begun.set(), free.wait(30)))
    app.task(name="good")(lambda: finish.wait(30))

    @app.task
    async def better():
        await asyncio.to_thread(finish.wait, 30)

    works = start(app)
    works.link.give(lease("bad"), lease("good", "other"), lease("better", "third"))
    assert begun.wait(10)
    works.link.stop(grace_ms=10)
    assert works.link.drained.wait(10), "it takes nothing more"
    assert works.link.outcomes == {}, "it runs, and nobody is told that it does not"
    finish.set()
    assert works.link.outcome() == StoppedReport(run_id="run", epoch=1, killed=True)
    assert [type(works.link.outcome(name)) for name in ("other", "third")] == [SucceededReport, SucceededReport]
    assert works.join() == 75
    free.set()


def test_a_function_that_blocks_the_loop_for_good_does_not_keep_threads_from_finishing(start):
    app, begun, free, finish = App(), threading.Event(), threading.Event(), threading.Event()

    @app.task
    async def bad():
        begun.set()
        free.wait(30)

    app.task(name="good")(lambda: finish.wait(30))

    works = start(app)
    works.link.give(lease("bad"), lease("good", "other"))
    assert begun.wait(10)
    works.link.stop(grace_ms=10)
    assert works.link.drained.wait(10)
    finish.set()
    assert works.link.outcome() == StoppedReport(run_id="run", epoch=1, killed=True)
    assert isinstance(works.link.outcome("other"), SucceededReport)
    assert works.left.get(timeout=10) == 75
    free.set()


def test_what_shares_a_loop_that_is_blocked_for_good_is_handed_back_without_delay(start):
    app, begun, free, both = App(), threading.Event(), threading.Event(), threading.Event()

    @app.task
    async def waits():
        both.set()
        await asyncio.sleep(60)

    @app.task
    async def bad():
        await asyncio.to_thread(both.wait, 30)
        begun.set()
        free.wait(30)

    works = start(app, drain_grace_ms=600_000)
    works.link.give(lease("waits", "other"), lease("bad"))
    assert begun.wait(10)
    works.link.stop(grace_ms=10)
    assert works.link.outcome() == StoppedReport(run_id="run", epoch=1, killed=True)
    assert isinstance(works.link.outcome("other"), ReleasedReport)
    assert works.left.get(timeout=10) == 75
    free.set()


def test_the_exit_code_says_whether_the_server_has_drained_the_worker(start):
    app = App()
    app.task(name="t")(lambda: None)
    by_server, by_signal = start(app), start(app)
    by_server.link.ask_drain()
    assert (by_server.join(), by_signal.end()) == (76, 0)


@pytest.fixture
def impatient(monkeypatch):
    """Let retries come fast."""
    monkeypatch.setattr("headway.worker.protocol.report_sender.Backoff", lambda *_: Backoff(0.001, 0.002))


@pytest.mark.parametrize("error", [HeadwayError("Internal error"), Unavailable(), UnexpectedAnswer()])
def test_a_server_that_fails_over_reports_gets_them_again_as_they_were(start, impatient, error):
    app = App()

    @app.task
    async def work(ctx):
        return await ctx.step("seven", lambda: 7)

    works = start(app)
    left = [error] * 20
    works.link.fault = lambda request: left.pop() if request.reports and left else None
    works.link.give(lease("work"))
    assert works.link.outcome() == SucceededReport(run_id="run", epoch=1, output=msgspec.Raw(b"7"))
    assert works.link.failures == 20


def test_a_report_over_which_the_server_always_fails_does_not_hold_up_the_others(start, impatient):
    app, mended = App(), threading.Event()
    app.task(name="t")(lambda n: n)
    works = start(app)

    def fault(request):
        ids = [report.run_id for report in request.reports]
        return HeadwayError("Internal error") if "r3" in ids and not mended.is_set() else None

    works.link.fault = fault
    works.link.give(*(lease("t", f"r{n}", input={"n": n}) for n in range(6)))
    works.link.until(lambda: len(works.link.outcomes) == 5)
    mended.set()
    assert works.link.outcome("r3") == SucceededReport(run_id="r3", epoch=1, output=msgspec.Raw(b"3"))


def test_a_single_report_that_the_server_could_not_take_is_sent_again(start, impatient):
    app, refused = App(), []

    @app.task
    async def work(ctx):
        return await ctx.step("seven", lambda: 7)

    def refuse(report):
        first = type(report) not in map(type, refused)
        refused.append(report)
        return (500, "error") if first else None

    works = start(app)
    works.link.refuse = refuse
    works.link.give(lease("work"))
    assert works.link.outcome() == SucceededReport(run_id="run", epoch=1, output=msgspec.Raw(b"7"))
    assert [type(report) for report in refused] == [StepReport, StepReport, SucceededReport, SucceededReport]


def test_a_claim_says_which_executors_have_less_room_and_does_not_wait_long_without_any(start):
    app, begun, free = App(), threading.Event(), threading.Event()
    app.task(name="thread")(lambda: (begun.set(), free.wait(30)))

    @app.task
    async def inline():
        pass

    works = start(app, threads=1, processes=2)
    works.link.until(lambda: works.link.claims)
    assert (works.link.claims[0].max, works.link.claims[0].rooms) == (10, {"thread": 1, "process": 2})
    works.link.give(lease("thread"))
    works.link.until(lambda: len(works.link.claims) == 2)
    cramped = works.link.claims[1]
    assert (cramped.max, cramped.wait, cramped.rooms) == (9, "2s", {"thread": 0, "process": 2})
    assert begun.wait(10)
    free.set()
    works.link.outcome()
    works.link.give(lease("inline", "other", crashes=1))
    works.link.until(lambda: len(works.link.claims) == 3)
    assert works.link.claims[2].rooms["process"] == 1


def test_a_worker_without_room_in_any_of_its_executors_does_not_claim(start):
    app, begun, free = App(), threading.Event(), threading.Event()
    app.task(name="thread")(lambda: (begun.set(), free.wait(30)))
    works = start(app, threads=1)
    works.link.give(lease("thread"))
    assert begun.wait(10)
    before = len(works.link.beats)
    works.link.until(lambda: len(works.link.beats) > before + 5)
    assert [claim.max for claim in works.link.claims] == [1]
    free.set()
    works.link.until(lambda: len(works.link.claims) == 2)


def test_one_report_that_the_server_refuses_does_not_hold_up_the_others(start):
    from headway.errors import PayloadTooLarge

    app = App()
    app.task(name="small")(lambda: 1)
    app.task(name="large")(lambda: "x" * 1000)
    works = start(app)
    take = works.link.report

    def report(request):
        if any(isinstance(one, SucceededReport) and len(bytes(one.output)) > 900 for one in request.reports):
            raise PayloadTooLarge
        return take(request)

    works.link.report = report
    works.link.give(*(lease("large" if n == 3 else "small", f"r{n}") for n in range(6)))
    works.link.until(lambda: len(works.link.outcomes) == 6)
    assert isinstance(works.link.outcomes["r3"], ErroredReport)
    assert works.link.outcomes["r3"].error.code == "output_too_large"
    assert isinstance(works.link.outcomes["r5"], SucceededReport)


def test_a_wait_that_the_server_refuses_is_a_failure_of_the_run(start):
    app = App()

    @app.task
    async def work(ctx):
        await ctx.wait_for_signal("go")

    works = start(app)
    works.link.refuse = lambda report: "invalid_state" if isinstance(report, SuspendedReport) else None
    works.link.give(lease("work"))
    assert (works.link.outcome().error.code, works.link.outcome().error.retryable) == ("refused", False)
