"""Every run that can exist, found by walking the engine from birth, breadth first; used by engine/ and storage/.

Two runs have the same shape if they differ in times only; of each shape one is kept, with the story that leads to it.
"""

from __future__ import annotations

import msgspec

from headway.errors import InvalidState
from headway.kernel.lifecycle import (
    Abandoned,
    Claimed,
    Crashed,
    Errored,
    Event,
    FellDue,
    Held,
    Released,
    Rescheduled,
    Resumed,
    Slept,
    StopAsked,
    Stopped,
    Succeeded,
    Suspended,
    Unblocked,
    decide,
)
from headway.kernel.run import PARKED, Blocker, Reason, Run, RunError, State
from headway.kernel.task import RetryPolicy, Task

BORN = 1_800_000_000_000
STEP_MS = 1_000
EPOCH_MAX = 4
"""Waiting gives attempts back, so a run may be claimed for ever; the walk stops here."""

GO, PAY = Blocker(kind="signal", name="go", number=1), Blocker(kind="signal", name="pay", number=2)
CHILD = Blocker(kind="run", run_id="01890000-0000-7000-8000-00000000c41d")
WHY = Reason(code="terminated", message='because "ü"', actor="ann")

EVENTS: dict[str, Event] = {
    "fell due": FellDue(),
    "rescheduled to come": Rescheduled(BORN + 10**9),
    "rescheduled to the past": Rescheduled(BORN - 10**9),
    "claimed": Claimed("01890000-0000-7000-8000-000000000001"),
    "succeeded": Succeeded('{"sum":[1,2.5,"ü"]}'),
    "errored": Errored(RunError(code="exception", type="ValueError", message="boom")),
    "errored for good": Errored(RunError(code="exception", message="never", retryable=False)),
    "errored by a class not retried": Errored(RunError(code="exception", type="KeyError", message="'x'")),
    "errored with a wait of its own": Errored(RunError(code="exception", message="slow down"), 60_000),
    "crashed": Crashed("gone"),
    "suspended for a time": Suspended((), 5_000),
    "suspended for one": Suspended((GO,)),
    "suspended for two": Suspended((GO, PAY), 7_000),
    "suspended for a child": Suspended((CHILD,)),
    "slept": Slept(BORN + 10**8),
    "slept until the past": Slept(BORN - 10**8),
    "released": Released(),
    "held": Held(Reason(code="suspended", message="wait", actor="bob")),
    "unblocked by go": Unblocked(GO),
    "unblocked by pay": Unblocked(PAY),
    "unblocked by a child": Unblocked(CHILD),
    "resumed": Resumed(Reason(code="resumed", actor="bob")),
    "stop asked": StopAsked(WHY),
    "stop asked without grace": StopAsked(WHY, 0),
    "stopped": Stopped(),
    "abandoned": Abandoned(),
}

RETRY = RetryPolicy(max_attempts=2, do_not_retry=("KeyError",))
TASKS = {
    "plain": Task(name="plain", retry=RETRY, max_crashes=2),
    "timed": Task(name="timed", retry=RETRY, max_crashes=2, timeout_ms=90_000, grace_ms=3_000),
}


def born(task: Task, **fields: object) -> Run:
    """Return a run that was just started."""
    run = Run(
        id="01890000-0000-7000-8000-00000000abcd", task=task.name, task_version="1", name="n", state=State.QUEUED,
        queue="default", priority=5, key="k", attempt=0, max_attempts=2, crashes=0, epoch=0, worker_id=None,
        input="{}", output=None, error=None, reason=None, labels='{"a":"b"}', blocked_on="[]", progress_done=0,
        progress_total=None, progress_message="", progress_rate=None, progress_at=None, run_type="api",
        parent_id=None, root_id="01890000-0000-7000-8000-00000000abcd", previous_id=None, schedule_id=None,
        protected=0, created_at=BORN, run_at=BORN, started_at=None, finished_at=None, expires_at=None, keep_ms=None,
        deadline_at=None, parked_until=None, updated_at=BORN, seq=1, version=1,
    )  # fmt: skip
    return msgspec.structs.replace(run, **fields)


class RunHistory(msgspec.Struct, frozen=True):
    """How a run came to be as it is."""

    born: Run
    run: Run
    task: Task
    events: tuple[str, ...] = ()

    @property
    def now_ms(self) -> int:
        """The time of the next event."""
        return BORN + (len(self.events) + 1) * STEP_MS

    def after(self, name: str) -> Run:
        """Return the run after one more event; raise InvalidState if that cannot happen."""
        return decide(self.run, EVENTS[name], self.task, self.now_ms)

    def __str__(self) -> str:
        """Return the story in words."""
        return f"{self.task.name}, born {' > '.join(self.events) or self.run.state}"


def shape(run: Run) -> tuple[object, ...]:
    """Return what sets the run apart, apart from times."""
    return (
        run.task, run.state, run.attempt, run.crashes, run.epoch, run.worker_id, run.output, run.error, run.reason,
        run.blocked_on, run.parked_until is None, run.deadline_at is None, run.started_at is None,
    )  # fmt: skip


def walk() -> list[RunHistory]:
    """Return every reachable shape, each with a shortest story."""
    births = [
        {},
        {"state": State.SCHEDULED, "run_at": BORN + 10_000},
        {"parked_until": PARKED},
        {"parked_until": BORN + 10_000},
    ]
    first = [(born(task, **fields), task) for task in TASKS.values() for fields in births]
    found = [RunHistory(run, run, task) for run, task in first]
    known = {shape(story.run) for story in found}
    for story in found:  # grows while it is walked
        for name in EVENTS:
            try:
                after = story.after(name)
            except InvalidState:
                continue
            if after.epoch <= EPOCH_MAX and shape(after) not in known:
                known.add(shape(after))
                found.append(RunHistory(story.born, after, story.task, (*story.events, name)))
    return found


STORIES = walk()
