"""CloudCoin's structs, and the translation of runs into them for each generation of clients.

Progress is always an integer: the documented Go client decodes it into an `int`, and loops for ever on a float.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Raw

from headway.kernel.progress import percent
from headway.kernel.run import Reason, Run, RunError, State

STARTED: Final = "Command Started"
GOES_ON: Final = "Processing..."
DONE: Final = "Command Completed"

INTERNAL: Final = 4100
TASK_NOT_FOUND: Final = 4105
TASK_TIMEOUT: Final = 4106
TASKID_MISSING: Final = 4107
DECODE_INPUT_JSON: Final = 4110
VALIDATE: Final = 4121
SERVICE_NOT_FOUND: Final = 4154
TIMEOUTS: Final = frozenset({"timeout", "heartbeat_timeout"})
CODES: Final = frozenset(map(str, range(0x1000, 0x1100)))
"""Codes of CloudCoin that a task may raise, as `headway.Fail(…, code="4115")`."""

Generation = Literal["current", "flat", "newer"]


class Word(NamedTuple):
    """Name of a state in each generation."""

    current: str
    """Name under /api/v1/tasks: generations A and B."""
    flat: str
    """Name under /api/transactions/task: generation C."""
    newer: str
    """Name under /api/system/tasks: generation D."""


WORDS: Final[dict[State, Word]] = {
    State.SCHEDULED: Word("running", "pending", "running"),
    State.QUEUED: Word("running", "pending", "running"),
    State.RUNNING: Word("running", "running", "running"),
    State.SUSPENDED: Word("running", "running", "running"),
    State.STOPPING: Word("running", "running", "running"),
    State.SUCCEEDED: Word("completed", "success", "success"),
    State.FAILED: Word("error", "error", "failed"),
    State.TERMINATED: Word("error", "error", "failed"),
}
UNAVAILABLE: Final = "unavailable"
"""Status of a temporary error, which says nothing about the task."""


class Failure(msgspec.Struct, frozen=True):
    """Error of a failed task, as its `data`."""

    code: int
    message: str
    details: list[str] | None = None


class Task(msgspec.Struct, frozen=True):
    """A task, for generations A and B."""

    id: str
    status: str
    progress: int
    started: int
    """Unix seconds; 0 before the start."""
    finished: int
    message: str
    data: Raw


class TaskReply(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a poll, for generations A and B."""

    status: str = "success"
    payload: Task


class StartedTask(Task, frozen=True):
    """A new task, with the URL of its polls."""

    url: str


class StartedReply(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a command, with the fields of all generations."""

    status: str = "success"
    command: str
    success: bool = True
    task_id: str
    message: str
    url: str
    payload: StartedTask


class FlatTask(msgspec.Struct, frozen=True):
    """A task, for generation C: without an envelope."""

    status: str
    task_id: str
    progress: int
    message: str
    data: Raw


class NewerTask(msgspec.Struct, frozen=True):
    """A task, for generation D."""

    id: str
    status: str
    progress: int
    message: str
    data: Raw


class NewerReply(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to a poll, for generation D."""

    status: str = "success"
    payload: NewerTask


class FailedTask(msgspec.Struct, frozen=True):
    """An error in the form of a failed task, which ends the polls of clients that read the task only."""

    id: str
    status: str
    progress: int
    code: int
    message: str
    details: list[str] | None
    data: Failure


class FailedReply(msgspec.Struct, frozen=True, kw_only=True):
    """An error, for generations A, B and D."""

    status: str = "error"
    payload: FailedTask


class FlatFailure(msgspec.Struct, frozen=True):
    """An error, for generation C."""

    status: str
    task_id: str
    progress: int
    code: int
    message: str
    details: list[str] | None
    data: Failure


_encode: Final = msgspec.json.Encoder().encode
_error: Final = msgspec.json.Decoder(RunError).decode
_reason: Final = msgspec.json.Decoder(Reason).decode
_NULL: Final = Raw(b"null")


def poll_answer(run: Run, generation: Generation, partial: str | None = None) -> bytes:
    """Return the answer to a poll as JSON; `partial` is the last published result of an unfinished run.

    Only generations C and D show a partial result; generations A and B have null until the task is completed.
    """
    message, data = _outcome(run, partial)
    status, progress = str(getattr(WORDS[run.state], generation)), progress_of(run)
    match generation:
        case "current":
            return _encode(TaskReply(payload=_task(run, status, progress, message, data)))
        case "flat":
            return _encode(FlatTask(status, run.id, progress, message, data))
        case "newer":
            return _encode(NewerReply(payload=NewerTask(run.id, status, progress, message, data)))


def start_answer(run: Run, command: str, url: str, *, whole: bool = True) -> bytes:
    """Return the answer to a command, for clients of every generation; not `whole`: for a key without `run:read`."""
    status = WORDS[run.state].current
    if whole:
        message, data = _outcome(run, None)
        task = _task(run, status, progress_of(run), message, data)
    else:
        task = Task(run.id, status, 0, 0, 0, STARTED, _NULL)
    payload = StartedTask(**msgspec.structs.asdict(task), url=url)
    return _encode(StartedReply(command=command, task_id=run.id, message=task.message, url=url, payload=payload))


def progress_of(run: Run) -> int:
    """Return the progress in whole percent, 0 to 100; 100 for every run that has ended, as CloudCoin has it."""
    if run.final:
        return 100
    return int(percent(run.progress_done, run.progress_total) or 0)


def _task(run: Run, status: str, progress: int, message: str, data: Raw) -> Task:
    return Task(run.id, status, progress, _seconds(run.started_at), _seconds(run.finished_at), message, data)


def _seconds(ms: int | None) -> int:
    return 0 if ms is None else ms // 1000


def _outcome(run: Run, partial: str | None) -> tuple[str, Raw]:
    """Return message and data; both have the error of a failed run, as clients read either."""
    if run.state is State.SUCCEEDED:
        return DONE, _NULL if run.output is None else Raw(run.output)
    failure = _failure(run)
    if failure is not None:
        return failure.message, Raw(_encode(failure))
    message = run.progress_message or (STARTED if run.progress_at is None else GOES_ON)
    return message, _NULL if partial is None else Raw(partial)


def _failure(run: Run) -> Failure | None:
    if run.state is State.FAILED:
        error = RunError(code="failed") if run.error is None else _error(run.error)
        code = TASK_TIMEOUT if error.code in TIMEOUTS else int(error.code) if error.code in CODES else INTERNAL
        default = "Task timed out" if code == TASK_TIMEOUT else error.type or error.code
        return Failure(code, error.message or default, list(filter(None, (error.code, error.type))))
    if run.state is State.TERMINATED:
        reason = Reason(code="terminated") if run.reason is None else _reason(run.reason)
        return Failure(INTERNAL, f"terminated: {reason.message}" if reason.message else "terminated", [reason.code])
    return None
