"""A run that no worker wants, as clients see it: what each verb does to it, and how it is answered."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.linearizability.checker import Operation


class RunModel(NamedTuple):
    """What clients see of it."""

    state: str
    version: int
    protected: bool
    priority: int
    name: str


NOT_STARTED = RunModel("", 0, False, 0, "")
WAITING = ("queued", "suspended")


def shown(body: dict[str, Any]) -> tuple[Any, ...]:
    """Return what an answer shows of the run."""
    return (body["state"], body["version"], body["protected"], body["priority"], body["name"])


def version_of(answer: Any) -> int | None:
    """Return the version that an answer shows, if it does."""
    return answer[1] if isinstance(answer, tuple) else None


def step(run: RunModel, operation: Operation) -> RunModel | None:
    """Return the run after the operation, or None if it would not have been answered so."""
    after, answer = _done(run, operation.verb, operation.given)
    if after is None:
        return None
    return after if operation.answer is None or operation.answer == answer else None


def _done(run: RunModel, verb: str, given: Any) -> tuple[RunModel | None, Any]:
    if verb == "start":
        if run != NOT_STARTED:
            return None, None
        run = RunModel("queued", 1, False, given, "n0")
        return run, tuple(run)
    if run == NOT_STARTED:
        return None, None  # its id is known from the answer to its start only
    after = _changed(run, verb, given)
    if isinstance(after, str):
        return run, after
    if after != run or verb in {"rename", "prioritise"}:  # to be given what one has is a change as well
        after = after._replace(version=run.version + 1)
    return after, tuple(after)


def _changed(run: RunModel, verb: str, given: Any) -> RunModel | str:
    """Return the run with the change, or the code of the error that refuses it."""
    match verb:
        case "get":
            return run
        case "suspend":
            return run._replace(state="suspended") if run.state in WAITING else "invalid_state"
        case "resume":
            return run._replace(state="queued") if run.state == "suspended" else "invalid_state"
        case "terminate":
            return run._replace(state="terminated")
        case "protect" | "unprotect":
            return run._replace(protected=verb == "protect")
        case "rename" | "prioritise":
            version, value = given
            if version is not None and version != run.version:
                return "version_mismatch"
            if verb == "rename":
                return run._replace(name=value)
            return run._replace(priority=value) if run.state in WAITING else "invalid_state"
    raise AssertionError(verb)
