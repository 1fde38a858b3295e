"""The program of a Ray task, with a real mailbox and without Ray: calls cross to the mailbox's loop as Ray would carry them."""

import asyncio
import threading

import msgspec
import pytest
from tests.worker.kit import lease

from headway.protocol.workers import LogReport, Reply, StepReport, StoppedReport, SucceededReport
from headway.worker.context.interrupts import Cause
from headway.worker.executors.frames import CancelFrame, FrameFromChild, OutcomeFrame, ReplyFrame, ReportFrame
from headway.worker.executors.ray.mailbox import Mailbox
from headway.worker.executors.ray.remote_task import RemoteTask

SPEC = "tests.worker.rough:app"


class RemoteTaskHarness:
    """A mailbox on a loop of its own, and one remote task whose end is watched."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.mailbox = Mailbox()
        self.left = threading.Event()
        self.gone = False

    def call(self, verb, *given):
        if self.gone:
            raise ConnectionError(verb)
        return asyncio.run_coroutine_threadsafe(getattr(self.mailbox, verb)(*given), self.loop).result(20)

    async def _cancel_all(self):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others) if others else None

    def begin(self, one, spec=SPEC):
        def leave(code):
            self.left.set()
            remote_task._over.set()
            if remote_task._attempt is not None:
                remote_task._attempt.cancel(Cause.LOST)  # in place of its process

        remote_task = RemoteTask(self.call, spec, one, "node", leave=leave)
        thread = threading.Thread(target=remote_task.run, daemon=True)
        thread.start()
        return thread

    def heard(self, kind):
        """Collect until a frame of that kind has come, and return all that came."""
        found = []
        while not any(isinstance(frame, kind) for frame in found):
            for _, what, text in self.call("collect"):
                if what == "mail":
                    found.append(msgspec.json.decode(text, type=FrameFromChild))
        return found

    def deliver(self, frame, key=("run", 1)):
        self.call("deliver", key, msgspec.json.encode(frame))

    def close(self):
        self.gone = True
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def stage():
    found = RemoteTaskHarness()
    found.call("open", ("run", 1))
    yield found
    found.close()


def test_a_step_is_answered_and_the_outcome_comes_last(stage):
    thread = stage.begin(lease("add", input={"a": 41}))
    asked = [frame for frame in stage.heard(ReportFrame) if frame.number]
    while not asked:
        asked = [frame for frame in stage.heard(ReportFrame) if frame.number]
    assert isinstance(asked[0].report, StepReport)
    stage.deliver(ReplyFrame(asked[0].number, Reply(index=0)))
    assert stage.heard(OutcomeFrame)[-1] == OutcomeFrame(
        SucceededReport(run_id="run", epoch=1, output=msgspec.Raw(b"42"))
    )
    thread.join(10)
    assert not thread.is_alive()
    assert not stage.left.is_set()


def test_a_lease_that_nobody_wants_any_more_is_not_begun(stage):
    assert stage.call("withdraw", ("run", 1))
    stage.begin(lease("leave")).join(10)  # this task would end the test's process
    assert not stage.left.is_set()


def test_a_stop_before_the_app_is_loaded_is_not_missed(stage):
    stage.deliver(CancelFrame(Cause.STOP))
    stage.begin(lease("heed_the_end"))
    assert stage.heard(OutcomeFrame)[-1] == OutcomeFrame(StoppedReport(run_id="run", epoch=1))


def test_a_lost_lease_ends_without_an_outcome(stage):
    stage.begin(lease("heed_the_end"))
    stage.heard(ReportFrame)
    stage.deliver(CancelFrame(Cause.LOST))
    assert stage.heard(OutcomeFrame)[-1] == OutcomeFrame(None)


def test_a_function_whose_lease_is_closed_ends_its_process(stage):
    stage.begin(lease("heed_the_end"))
    stage.heard(ReportFrame)
    stage.call("close", ("run", 1))
    assert stage.left.wait(10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_function_whose_mailbox_has_gone_ends_its_process(stage):
    stage.begin(lease("heed_the_end"))
    stage.heard(ReportFrame)
    stage.gone = True
    assert stage.left.wait(20)


def test_an_app_that_is_not_on_the_node_is_said(stage):
    stage.begin(lease("add"), "no.such.module:app").join(10)
    (frame,) = stage.heard(msgspec.Struct)
    assert "no.such.module" in frame.problem


def test_a_task_that_is_not_in_the_nodes_app_is_said(stage):
    stage.begin(lease("renamed"))
    assert stage.heard(OutcomeFrame)[-1].outcome.error.code == "task_missing"


def test_logs_arrive_before_the_outcome(stage):
    stage.begin(lease("add", input={"a": 1}, steps={"sum": 7}))
    frames = stage.heard(OutcomeFrame)
    assert any(isinstance(frame, ReportFrame) and isinstance(frame.report, LogReport) for frame in frames[:-1])
    assert bytes(frames[-1].outcome.output) == b"7"
