"""Dialect of Tadabase's clients: the form of errors, and the requests that the surface claims.

The clients do not read the HTTP status, so every error is JSON with `type` and `msg`. A client that waits for a run reads
`tasks` only: for a missing run that list has an entry that ends the wait, as an empty list never would.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headway.compat.tadabase import words
from headway.compat.tadabase.fields import FORM, JSON, PARTS
from headway.compat.tadabase.settings import TadabaseSettings
from headway.errors import (
    BadCursor,
    BadParameter,
    Forbidden,
    HeadwayError,
    RunNotFound,
    TaskInactive,
    Unauthenticated,
    UnknownTask,
)
from headway.web import problem
from headway.web.call import Call
from headway.web.dialect import Dialect
from headway.web.reply import Reply

APPLICATION: Final = "app"
"""Argument with the organisation in paths of version 1.1."""
HEADER: Final = b"x-tadabase-"
_OWN: Final = (
    "/api/v1/tasks/run", "/api/v1/tasks/status", "/api/v1/tasks/history", "/api/v1/tasks/terminate",
    "/api/v1/data-tables/", "/api/v1.1/",
)  # fmt: skip
FAULTS: Final = {
    "organisation": "APP Not Found", "revoked": "API Disabled", "expired": "API Disabled", "user_disabled": "API Disabled",
    "organisation_disabled": "API Disabled",
}  # fmt: skip
"""Messages for the reasons of Unauthenticated of an existing key; all others have the message of an unknown key."""
_STATUSES: Final = {UnknownTask: 404, TaskInactive: 412, BadParameter: 422, BadCursor: 422}
"""HTTP statuses of Tadabase that differ from the native API's; 412 stands for an inactive task."""
_encode: Final = msgspec.json.Encoder().encode


class TadabaseDialect(Dialect):
    """Dialect with errors such as `{"type": "error", "msg": …}`."""

    problem = words.ErrorReply
    problem_kind = JSON
    body_kinds = (JSON, FORM, PARTS)

    def __init__(self, settings: TadabaseSettings, *, polled: bool = False) -> None:
        """`polled`: routes that clients poll until the execution ends."""
        self.origins = settings.origins
        self._polled = polled

    def claims(self, call: Call) -> bool:
        """Whether the path is one of Tadabase's, or the request has its credential headers."""
        path = call.path
        if path.startswith(_OWN) or path in ("/api/v1/tasks", "/api/v1/status", "/api/v1/data-tables"):
            return True
        return path.startswith("/api/") and any(name.startswith(HEADER) for name in call.headers)

    def prepare(self, call: Call) -> None:
        """Move the organisation in a path of version 1.1 from the arguments to `application`."""
        if APPLICATION in call.arguments:
            call.arguments = dict(call.arguments)
            call.application = call.arguments.pop(APPLICATION)

    def status(self, error: type[HeadwayError]) -> int:
        """Return the status in Tadabase's documentation if there is one, else the error's own."""
        return next((status for kind, status in _STATUSES.items() if issubclass(error, kind)), error.status)

    def refuse(self, error: HeadwayError, call: Call) -> Reply:
        """Return the reply with an error."""
        status = self.status(type(error))
        missing = self._polled and isinstance(error, RunNotFound)
        refusal = words.ErrorReply(
            type="error",
            msg=problem.clean(_message(error)),
            status=status,
            code=error.code,
            request_id=call.request_id.decode(),
            errors=_errors(error) if status == 422 else {},  # noqa: PLR2004 - validation errors
            total_tasks=1 if missing else None,
            tasks=[words.MissingExecution(task_queue_id=call.arguments["id"][:100])] if missing else [],
        )
        return Reply(status, _encode(refusal), problem.headers(error))


def _message(error: HeadwayError) -> str:
    match error:
        case Unauthenticated():
            return FAULTS.get(str(error.fields.get("reason")), "API Not Found")
        case Forbidden():
            return "Permission Denied"
        case _:
            return error.detail


def _errors(error: HeadwayError) -> dict[str, list[str]]:
    if error.errors:
        found = words.by_field(error.errors)
        return {problem.clean(name): [problem.clean(text) for text in texts] for name, texts in found.items()}
    name = "cursor" if isinstance(error, BadCursor) else str(error.fields.get("parameter") or words.ALL)
    return {problem.clean(name): [problem.clean(error.detail)]}
