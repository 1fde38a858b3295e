"""How errors are told to Tadabase's clients.

Those do not look at the HTTP status, so that every error is JSON with `type` and `msg`. One that waits for a run looks at
`tasks` only: where a run does not exist that has an entry that ends the wait, as an empty list would never.
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
"""The argument of paths of version 1.1."""
HEADER: Final = b"x-tadabase-"
_OWN: Final = (
    "/api/v1/tasks/run", "/api/v1/tasks/status", "/api/v1/tasks/history", "/api/v1/tasks/terminate",
    "/api/v1/data-tables/", "/api/v1.1/",
)  # fmt: skip
FAULTS: Final = {
    "organisation": "APP Not Found", "revoked": "API Disabled", "expired": "API Disabled", "user_disabled": "API Disabled",
    "organisation_disabled": "API Disabled",
}  # fmt: skip
"""What they say of a key that is known; of one that is not there is nothing to be learnt."""
_STATUSES: Final = {UnknownTask: 404, TaskInactive: 412, BadParameter: 422, BadCursor: 422}
"""Where theirs are not ours; of theirs, 412 is for what is switched off."""
_encode: Final = msgspec.json.Encoder().encode


class TadabaseDialect(Dialect):
    """`{"type": "error", "msg": …}`."""

    problem = words.Refusal
    problem_kind = JSON
    body_kinds = (JSON, FORM, PARTS)

    def __init__(self, settings: TadabaseSettings, *, polled: bool = False) -> None:
        """`polled` is what clients ask again and again until it says the end."""
        self.origins = settings.origins
        self._polled = polled

    def claims(self, call: Call) -> bool:
        """Whether it is below a path of theirs, or has their credentials."""
        path = call.path
        if path.startswith(_OWN) or path in ("/api/v1/tasks", "/api/v1/status", "/api/v1/data-tables"):
            return True
        return path.startswith("/api/") and any(name.startswith(HEADER) for name in call.headers)

    def prepare(self, call: Call) -> None:
        """Take the organisation out of the arguments of a path of version 1.1."""
        if APPLICATION in call.arguments:
            call.arguments = dict(call.arguments)
            call.application = call.arguments.pop(APPLICATION)

    def status(self, error: type[HeadwayError]) -> int:
        """Return the status that their documentation has for it, where it has one."""
        return next((status for kind, status in _STATUSES.items() if issubclass(error, kind)), error.status)

    def refuse(self, error: HeadwayError, call: Call) -> Reply:
        """Answer with an error."""
        status = self.status(type(error))
        gone = self._polled and isinstance(error, RunNotFound)
        refusal = words.Refusal(
            type="error",
            msg=problem.clean(_said(error)),
            status=status,
            code=error.code,
            request_id=call.request_id.decode(),
            errors=_errors(error) if status == 422 else {},  # noqa: PLR2004 - what fails their validation
            total_tasks=1 if gone else None,
            tasks=[words.Gone(task_queue_id=call.arguments["id"][:100])] if gone else [],
        )
        return Reply(status, _encode(refusal), problem.headers(error))


def _said(error: HeadwayError) -> str:
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
