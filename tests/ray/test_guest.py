"""The program of a Ray task, with a real office and without Ray: calls cross to the office's loop as Ray would carry them."""

import asyncio
import threading

import msgspec
import pytest
from tests.worker.kit import lease

from headway.wire.workers import LogReport, Reply, StepReport, Stopped, Succeeded
from headway.worker.frames import Answered, Cancel, Done, FromChild, Told
from headway.worker.interrupts import Cause
from headway.worker.ray.guest import Guest
from headway.worker.ray.office import Office

SPEC = "tests.worker.rough:app"


class Stage:
    """An office on a loop of its own, and one guest whose end is watched."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.office = Office()
        self.left = threading.Event()
        self.gone = False

    def call(self, verb, *given):
        if self.gone:
            raise ConnectionError(verb)
        return asyncio.run_coroutine_threadsafe(getattr(self.office, verb)(*given), self.loop).result(20)

    async def _cancel_all(self):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others) if others else None

    def begin(self, one, spec=SPEC):
        def leave(code):
            self.left.set()
            guest._over.set()
            if guest._attempt is not None:
                guest._attempt.cancel(Cause.LOST)  # in place of its process

        guest = Guest(self.call, spec, one, "node", leave=leave)
        thread = threading.Thread(target=guest.run, daemon=True)
        thread.start()
        return thread

    def heard(self, kind):
        """Collect until a frame of that kind has come, and return all that came."""
        found = []
        while not any(isinstance(frame, kind) for frame in found):
            for _, what, text in self.call("collect"):
                if what == "mail":
                    found.append(msgspec.json.decode(text, type=FromChild))
        return found

    def tell(self, frame, key=("run", 1)):
        self.call("tell", key, msgspec.json.encode(frame))

    def close(self):
        self.gone = True
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def stage():
    found = Stage()
    found.call("open", ("run", 1))
    yield found
    found.close()


def test_a_step_is_answered_and_the_outcome_comes_last(stage):
    thread = stage.begin(lease("add", input={"a": 41}))
    asked = [frame for frame in stage.heard(Told) if frame.number]
    while not asked:
        asked = [frame for frame in stage.heard(Told) if frame.number]
    assert isinstance(asked[0].report, StepReport)
    stage.tell(Answered(asked[0].number, Reply(index=0)))
    assert stage.heard(Done)[-1] == Done(Succeeded(run_id="run", epoch=1, output=msgspec.Raw(b"42")))
    thread.join(10)
    assert not thread.is_alive()
    assert not stage.left.is_set()


def test_a_lease_that_nobody_wants_any_more_is_not_begun(stage):
    assert stage.call("withdraw", ("run", 1))
    stage.begin(lease("leave")).join(10)  # this task would end the test's process
    assert not stage.left.is_set()


def test_a_stop_before_the_app_is_loaded_is_not_missed(stage):
    stage.tell(Cancel(Cause.STOP))
    stage.begin(lease("heed_the_end"))
    assert stage.heard(Done)[-1] == Done(Stopped(run_id="run", epoch=1))


def test_a_lost_lease_ends_without_an_outcome(stage):
    stage.begin(lease("heed_the_end"))
    stage.heard(Told)
    stage.tell(Cancel(Cause.LOST))
    assert stage.heard(Done)[-1] == Done(None)


def test_a_function_whose_lease_is_closed_ends_its_process(stage):
    stage.begin(lease("heed_the_end"))
    stage.heard(Told)
    stage.call("close", ("run", 1))
    assert stage.left.wait(10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_function_whose_office_has_gone_ends_its_process(stage):
    stage.begin(lease("heed_the_end"))
    stage.heard(Told)
    stage.gone = True
    assert stage.left.wait(20)


def test_an_app_that_is_not_on_the_node_is_said(stage):
    stage.begin(lease("add"), "no.such.module:app").join(10)
    (frame,) = stage.heard(msgspec.Struct)
    assert "no.such.module" in frame.problem


def test_a_task_that_is_not_in_the_nodes_app_is_said(stage):
    stage.begin(lease("renamed"))
    assert stage.heard(Done)[-1].outcome.error.code == "task_missing"


def test_logs_arrive_before_the_outcome(stage):
    stage.begin(lease("add", input={"a": 1}, steps={"sum": 7}))
    frames = stage.heard(Done)
    assert any(isinstance(frame, Told) and isinstance(frame.report, LogReport) for frame in frames[:-1])
    assert bytes(frames[-1].outcome.output) == b"7"
