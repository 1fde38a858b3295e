"""Hints in terms of commands and options; the API's hints name routes and headers."""

from __future__ import annotations

from typing import Final

from headway.errors import HeadwayError

_HINTS: Final = {
    "unauthenticated": "Set HEADWAY_KEY, or name a file with --key-file; `headway keys create` makes a key.",
    "unknown_task": "`headway tasks list` lists the tasks. One becomes known when a worker that has it connects.",
    "task_not_found": "`headway tasks list` lists the tasks. One becomes known when a worker that has it connects.",
    "task_inactive": "`headway tasks activate NAME` activates it.",
    "run_not_found": "`headway runs list` lists the runs, the newest first.",
    "not_finished": "`headway runs watch RUN` waits for its end.",
    "wait_timeout": "The run goes on: `headway runs watch RUN` watches it again.",
    "protected": "`headway runs unprotect RUN` first.",
    "queue_not_found": "`headway queues list` lists the queues.",
    "worker_not_found": "`headway workers list` lists the workers.",
    "schedule_not_found": "`headway schedules list` lists the schedules.",
    "record_task_not_found": "`headway record-tasks list` lists the record tasks.",
    "record_failed": "See what is wrong with it (`headway record-tasks errors RUN`), and start the task again.",
    "table_not_found": "`headway tables list` lists the tables.",
    "field_not_found": "`headway tables show TABLE` lists the fields.",
    "record_not_found": "`headway tables records TABLE` lists the records.",
    "key_not_found": "`headway keys list --all` lists the keys.",
    "user_not_found": "`headway users list` lists the users.",
    "organisation_not_found": "`headway organisations list` lists the organisations.",
    "idempotency_key_reused": "Use another --idempotency-key for another request.",
    "route_not_found": "The server does not know this command: it may be older than the command line.",
    "bad_cursor": "Begin again.",
    "too_many_requests": "Try again later; `headway keys show KEY` shows how often a key may ask.",
    "overloaded": "Try again later.",
    "storage_unavailable": "Try again with the same --idempotency-key, if there was one: what was made after all is not made twice.",
    "cut_off": "Try again with the same --idempotency-key, if there was one: what was made after all is not made twice.",
    "internal_error": "Try again; if it happens again, report it with its id.",
}  # fmt: skip
"""Hints by error code."""


def hint(error: HeadwayError, close: list[str]) -> str | None:
    """Return the hint of an error; `close` are names similar to the unknown one."""
    said = _HINTS.get(error.code, error.hint)
    return " ".join(filter(None, [suggestion(close), said])) or None


def suggestion(close: list[str]) -> str:
    """Return a question for names similar to an unknown one; empty if there are none."""
    if not close:
        return ""
    *others, last = (repr(name) for name in close)
    return f"Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
