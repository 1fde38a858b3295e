"""Errors of the API: each class has a stable code, an HTTP status, a message for people, and a hint.

    HeadwayError
    ├── BadRequest 400 ─ MalformedJson, UnknownField, BadParameter, BadCursor, BadHost 421, PayloadTooLarge 413,
    │                    UnsupportedMediaType 415
    ├── InvalidInput 422 ─ UnknownTask, InvalidSchedule, TargetRefused, IdempotencyKeyReused, InvalidRecord,
    │                        BadImport, ExternalRefused, InputTooCostly, SchemaTooCostly
    ├── Unauthenticated 401 / Forbidden 403
    ├── NotFound 404 ─ RunNotFound, TaskNotFound, QueueNotFound, WorkerNotFound, ScheduleNotFound, RouteNotFound,
    │                  KeyNotFound, UserNotFound, OrganisationNotFound, TableNotFound, FieldNotFound,
    │                  RecordNotFound, StoredFileNotFound, RecordTaskNotFound
    ├── Gone 410 ─ RunPurged
    ├── MethodNotAllowed 405
    ├── Conflict 409 ─ InvalidState, LeaseLost, RunStopping, DuplicateRun, TaskInactive, AlreadyCompleted, NotFinished,
    │                  IdempotencyInProgress, ScheduleExists, ScheduleBusy, TableInUse, RecordInUse,
    │                  RecordFailed
    ├── VersionMismatch 412
    ├── Protected 423
    ├── TooManyRequests 429
    ├── ExternalFailed, TargetUnreachable 502
    └── Unavailable 503 ─ StorageFull, StorageFailed, StorageBusy, StorageUnavailable, Draining, CutOff,
                         Overloaded

A code is never reused for another meaning; clients may switch on it. `web/problem.py` renders the tree as RFC 9457
problem documents; the client raises the same classes again from the answer.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HeadwayError(Exception):
    """The root of everything that Headway raises on purpose."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"
    hint: ClassVar[str | None] = None
    retry_after_s: int | None = None

    def __init__(self, detail: str = "", *, errors: list[dict[str, Any]] | None = None, **fields: Any) -> None:
        """`detail` is for people; `errors` are pointers into the input; `fields` become members of the problem."""
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = errors or []
        self.fields = fields


class BadRequest(HeadwayError):
    """The request cannot be understood."""

    code, status, title = "bad_request", 400, "The request cannot be understood"


class MalformedJson(BadRequest):
    """The body is not JSON as RFC 8259 has it."""

    code, title = "malformed_json", "The body is not valid JSON"


class UnknownField(BadRequest):
    """The body names a field that this route does not have."""

    code, title = "unknown_field", "The body has an unknown field"
    hint = "Unknown fields are refused because a typing error would silently drop an option."


class BadParameter(BadRequest):
    """A query parameter or header has an invalid value."""

    code, title = "bad_parameter", "A parameter has an invalid value"


class BadCursor(BadRequest):
    """A page token, `after` or `Last-Event-ID` that this server did not hand out for this list."""

    code, title = "bad_cursor", "The cursor was not issued for this list"
    hint = "Start again without a cursor, and keep the other parameters the same from page to page."


class BadHost(BadRequest):
    """The `Host` header names a machine that this server does not answer for (guards against DNS rebinding)."""

    code, status, title = "bad_host", 421, "This server does not answer for that host"
    hint = "Add the name with --allow-host, if it is yours."


class PayloadTooLarge(BadRequest):
    """The body is larger than the limit; it was not read to its end."""

    code, status, title = "payload_too_large", 413, "The body is too large"


class UnsupportedMediaType(BadRequest):
    """The body is not declared as JSON."""

    code, status, title = "unsupported_media_type", 415, "The body must be application/json"


class InvalidInput(HeadwayError):
    """The JSON is well formed but has invalid values; `errors` point at each."""

    code, status, title = "invalid_input", 422, "The input does not match the schema"


class InputTooCostly(InvalidInput):
    """Checking the input against its task's schema exceeds the limits of time or memory for one input."""

    code, title = "input_too_costly", "The input costs too much to check"
    hint = (
        "Make the input smaller, or the schema simpler: fewer alternatives, fewer references to itself, shorter patterns. "
        "A schedule takes only an input that can be checked at once."
    )


class SchemaTooCostly(InvalidInput):
    """The schema of a task is too large or applies too many subschemas to one value; `errors` point at the place."""

    code, title = "schema_too_costly", "Checking inputs against the schema costs too much"
    hint = "Simplify the schema at the place that `errors` name, and declare the task again."


class UnknownTask(InvalidInput):
    """No worker has ever declared a task of that name."""

    code, title = "unknown_task", "No task of that name is known"
    hint = "GET /v1/tasks lists them. A task becomes known when a worker that has it connects."


class InvalidSchedule(InvalidInput):
    """A part of a schedule is invalid; `errors` name the part and the values that it accepts."""

    code, title = "invalid_schedule", "The schedule is invalid"
    hint = "An occurrence is a word (Daily), a cron expression, an RRULE, or an interval (every 90m)."


class TargetRefused(InvalidInput):
    """The server does not call that host: it is not public, not on a usual port, or its name resolves to a private address."""

    code, title = "target_refused", "The server does not call that address"
    hint = "Use a public https address. The server's operator can allow others with HEADWAY_OUTBOUND_ALLOW."


class IdempotencyKeyReused(InvalidInput):
    """The Idempotency-Key was used before with another body."""

    code, title = "idempotency_key_reused", "The Idempotency-Key was used for another request"
    hint = "Use a new key for a new request; repeat a request with the same key and the same body."


class InvalidRecord(InvalidInput):
    """A record has a value that its table does not take; `errors` name the record and the field. Nothing was changed."""

    code, title = "invalid_record", "A record has a value that its table does not take"


class BadImport(InvalidInput):
    """A file cannot be imported: it does not have the format that was named, or too many of its rows are refused."""

    code, title = "bad_import", "The file cannot be imported"
    hint = "Rows that were imported before stay. The run's results name the refused rows."


class ExternalRefused(InvalidInput):
    """The connection to an external database is not allowed, or the database refuses the operation. Nothing was changed."""

    code, title = "external_refused", "The external database does not allow this"


class QueryTooCostly(InvalidInput):
    """A filter, a count or a list was cancelled at the timeout for one request's query."""

    code, title = "query_too_costly", "The query takes too long"
    hint = (
        "Narrow it: compare an indexed field by is or any of, drop comparisons, ask for fewer records. An export and a record "
        "task read the same page by page and have more time; HEADWAY_QUERY_MAX_MS is the operator's limit."
    )


class Unauthenticated(HeadwayError):
    """The request has no valid credential."""

    code, status, title = "unauthenticated", 401, "A valid key is needed"
    hint = "Set HEADWAY_KEY, or send `Authorization: Bearer hw_…`; `headway keys create` makes a key."


class Forbidden(HeadwayError):
    """The credential does not allow this, or a browser sent the request from another site."""

    code, status, title = "forbidden", 403, "Not allowed"


class NotFound(HeadwayError):
    """The addressed object does not exist."""

    code, status, title = "not_found", 404, "Not found"


class RunNotFound(NotFound):
    """No run has that id."""

    code, title = "run_not_found", "No run has that id"


class TaskNotFound(NotFound):
    """No task has that name."""

    code, title = "task_not_found", "No task has that name"


class QueueNotFound(NotFound):
    """No queue has that name."""

    code, title = "queue_not_found", "No queue has that name"


class WorkerNotFound(NotFound):
    """No worker is registered under that id; a worker that gets this registers again."""

    code, title = "worker_not_found", "No worker is registered under that id"


class RecordTaskNotFound(NotFound):
    """No record task has that name."""

    code, title = "record_task_not_found", "No record task has that name"


class TableNotFound(NotFound):
    """No table has that id or name."""

    code, title = "table_not_found", "No table has that id or name"


class FieldNotFound(NotFound):
    """The table has no such field."""

    code, title = "field_not_found", "The table has no such field"


class RecordNotFound(NotFound):
    """The table has no such record."""

    code, title = "record_not_found", "The table has no such record"


class StoredFileNotFound(NotFound):
    """No file has that id; files are removed some days after their upload or export."""

    code, title = "file_not_found", "There is no such file"


class ScheduleNotFound(NotFound):
    """No schedule has that id or name."""

    code, title = "schedule_not_found", "No schedule has that id or name"


class KeyNotFound(NotFound):
    """No key has that public id."""

    code, title = "key_not_found", "No key has that id"


class UserNotFound(NotFound):
    """No user has that id."""

    code, title = "user_not_found", "No user has that id"


class OrganisationNotFound(NotFound):
    """No organisation has that id."""

    code, title = "organisation_not_found", "No organisation has that id"


class RouteNotFound(NotFound):
    """No route has that path."""

    code, title = "route_not_found", "No route has that path"
    hint = "GET /openapi.json lists every route."


class MethodNotAllowed(HeadwayError):
    """The path is known, the method is not."""

    code, status, title = "method_not_allowed", 405, "That method is not allowed here"


class Gone(HeadwayError):
    """The addressed object existed and was removed."""

    code, status, title = "gone", 410, "The object was removed"


class RunPurged(Gone):
    """The run was removed by retention or by hand; the tombstone says when and why."""

    code, title = "run_purged", "The run was removed"


class Conflict(HeadwayError):
    """The request conflicts with the current state."""

    code, status, title = "conflict", 409, "The request conflicts with the current state"


class InvalidState(Conflict):
    """The run's state does not allow the request; `state` names it."""

    code, title = "invalid_state", "The run's state does not allow this"


class Damaged(Conflict):
    """A stored value that the answer needs was damaged on the server's disk and cannot be read."""

    code, title = "damaged", "A stored value was damaged on the server's disk"
    hint = "`headway doctor --verify` names everything that is damaged; a backup may have it intact."


class LeaseLost(Conflict):
    """The worker's lease epoch is not the run's: another attempt owns it, or none does. Nothing was changed."""

    code, title = "lease_lost", "The worker does not hold the lease any more; nothing was changed"


class RunStopping(Conflict):
    """The run was asked to stop before the outcome arrived; the outcome was not taken, the stop is confirmed."""

    code, title = "run_stopping", "The run was asked to stop first"


class DuplicateRun(Conflict):
    """`dedupe.on_conflict` is `reject` and a run with that key exists; `run_id` names it."""

    code, title = "duplicate_run", "A run with that dedupe key exists"


class TaskInactive(Conflict):
    """The task is deactivated, so it takes no new runs."""

    code, title = "task_inactive", "The task is not active"
    hint = "Activate it with POST /v1/tasks/{name}:activate."


class AlreadyCompleted(Conflict):
    """The token was used before."""

    code, title = "already_completed", "The token was used before"


class NotFinished(Conflict):
    """The run has no output yet."""

    code, title = "not_finished", "The run is not finished"
    hint = "Ask with `Prefer: wait=60`, or follow its events."


class IdempotencyInProgress(Conflict):
    """The first request with this key has not been answered yet."""

    code, title = "idempotency_in_progress", "The first request with this key is still being answered"
    retry_after_s = 1


class TableInUse(Conflict):
    """The table or field cannot be changed like this: another object depends on it, or its records do not fit."""

    code, title = "table_in_use", "The table or field is in use"


class RecordInUse(Conflict):
    """Other records connect to the record by a connection that restricts this; `errors` name them. Nothing was changed."""

    code, title = "record_in_use", "Other records connect to this one"


class RecordFailed(Conflict):
    """A record failed in a record task that stops at the first failure; `record_id` names the record."""

    code, title = "record_failed", "A record failed, and the task stops there"
    hint = "See what is wrong with it (GET /v1/runs/{id}/record-errors), and start the task again."


class ScheduleExists(Conflict):
    """Another schedule has that name."""

    code, title = "schedule_exists", "There is a schedule of that name"


class ScheduleBusy(Conflict):
    """An earlier run of the schedule is not finished, and its overlap policy starts none beside it."""

    code, title = "schedule_busy", "An earlier run of the schedule is not finished"
    hint = 'Wait for it or stop it; or trigger with another overlap: "queue", "cancel_running" or "allow".'


class VersionMismatch(HeadwayError):
    """`If-Match` does not name the version that the object has now."""

    code, status, title = "version_mismatch", 412, "The object has changed"
    hint = "Read the object again, and repeat the change on its current version."


class Protected(HeadwayError):
    """The run is protected from removal."""

    code, status, title = "protected", 423, "The run is protected"
    hint = "POST /v1/runs/{id}:unprotect first."


class TooManyRequests(HeadwayError):
    """A rate limit is exceeded: of the key, of its organisation, or of attempts without a valid key."""

    code, status, title = "too_many_requests", 429, "Too many requests"
    hint = "Wait as long as Retry-After says; X-RateLimit-Remaining says what is left."

    def __init__(self, detail: str = "", *, retry_after_s: int = 1, **fields: Any) -> None:
        """`retry_after_s` is the time, in seconds, after which the request may be repeated."""
        super().__init__(detail, **fields)
        self.retry_after_s = retry_after_s


class TargetUnreachable(HeadwayError):
    """The target of a record task failed repeatedly; the run is tried again later, from that record."""

    code, status, title = "target_unreachable", 502, "The target of the record task cannot be reached"
    hint = (
        "Check that the mail server or the receiver is running; the records that failed can be run again on their own."
    )


class ExternalFailed(HeadwayError):
    """An external database cannot be reached, or has not answered in time. A change may have been made or not."""

    code, status, title = "external_failed", 502, "The external database did not answer"
    hint = "Check that the database is running and that its URL is still right."


class Unavailable(HeadwayError):
    """The server cannot take the request now; nothing was changed, and it may be repeated with its Idempotency-Key."""

    code, status, title, retry_after_s = "unavailable", 503, "Temporarily unavailable", 1


class StorageFull(Unavailable):
    """The disk is nearly full: new runs are refused, reads and finishing runs go on."""

    code, title, retry_after_s = "storage_full", "The disk is full", 5
    hint = "Free disk space; the server takes new runs again by itself."


class StorageFailed(Unavailable):
    """The database could not be written; nothing was changed."""

    code, title, retry_after_s = "storage_failed", "The database could not be written", 5


class StorageBusy(Unavailable):
    """Another program holds the database; nothing was changed."""

    code, title, retry_after_s = "storage_busy", "Another program holds the database", 1
    hint = "Repeat the request. If that does not help, another program holds the store's file in a long transaction: end it."


class StorageUnavailable(Unavailable):
    """The database cannot be reached. A requested change may have been made or not."""

    code, title = "storage_unavailable", "The database cannot be reached"
    hint = "Try again with the same Idempotency-Key: if the change was made after all, it is not made twice."


class Draining(Unavailable):
    """The server is shutting down."""

    code, title = "draining", "The server is shutting down"


class CutOff(Unavailable):
    """The server stopped before the request was complete. A requested change may have been made or not."""

    code, title = "cut_off", "The server stopped before it could answer"
    hint = "Try again with the same Idempotency-Key: if the change was made after all, it is not made twice."


class Overloaded(Unavailable):
    """More requests wait than the server accepts."""

    code, title = "overloaded", "The server is overloaded"
    hint = "Wait as long as Retry-After says. An earlier request on the same connection is not answered until then."


def _tree(root: type[HeadwayError]) -> list[type[HeadwayError]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]


BY_CODE: dict[str, type[HeadwayError]] = {error.code: error for error in _tree(HeadwayError)}
"""Classes by code; the client raises the class of an answer's code."""
