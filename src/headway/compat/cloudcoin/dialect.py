"""How errors are told to CloudCoin's clients, and which web pages may ask.

Their three documented pollers end on different things: the one in JavaScript on the HTTP status, those in shell and Go on
`payload.status`. So an error has both. What passes by itself (a limit, a drain) says nothing about the task, and its
`payload.status` is none of those that end a polling.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headway.compat.cloudcoin import words
from headway.compat.cloudcoin.words import Generation, Word
from headway.errors import (
    BadParameter,
    BadRequest,
    HeadwayError,
    InvalidInput,
    MalformedJson,
    MethodNotAllowed,
    RouteNotFound,
    RunNotFound,
    RunPurged,
    UnknownTask,
)
from headway.http import problem
from headway.http.call import Call
from headway.http.dialect import Dialect
from headway.http.guard import Guard
from headway.http.reply import Reply

TASK_ID: Final = "task_id"
"""The parameter without which there is no poll."""
ERROR: Final = Word("error", "error", "failed")
_PREFIXES: Final = ("/api/", "/get-task-status")
_METHODS: Final = (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE")
_HEADERS: Final = (b"access-control-allow-headers", b"Content-Type, Accept, Authorization, Idempotency-Key")
_VARY: Final = (b"vary", b"origin")
_encode: Final = msgspec.json.Encoder().encode


class CloudcoinDialect(Dialect):
    """The errors of one generation; sites and prefixes are the same for all."""

    name = "cloudcoin"
    problem_kind = "application/json"

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.problem = words.FlatFailure if generation == "flat" else words.FailedReply

    def claims(self, call: Call) -> bool:
        """Whether it is below one of their prefixes; other surfaces were asked before."""
        return call.path.startswith(_PREFIXES)

    def check_site(self, call: Call, guard: Guard) -> None:
        """Turn away pages of other sites, also from reading, unless their origin is in the settings."""
        if not _is_welcome(call):
            guard.check_site(call.headers)

    def refuse(self, error: HeadwayError, call: Call) -> Reply:
        """Answer with an error that ends each of the pollers, or with one after which those that can go on."""
        code, message, details = _said(error)
        failure = words.Failure(code, message, details)
        asked, status = call.arguments.get("id", "")[:100], self._status(error)
        progress = 100 if status in ERROR else 0
        if self.generation == "flat":
            body = _encode(words.FlatFailure(status, asked, progress, code, message, details, failure))
        else:
            task = words.FailedTask(asked, status, progress, code, message, details, failure)
            body = _encode(words.FailedReply(payload=task))
        http = 404 if isinstance(error, UnknownTask) else error.status
        return Reply(200 if call.api.service.settings.cloudcoin_strict else http, body, problem.headers(error))

    def _status(self, error: HeadwayError) -> str:
        return words.UNAVAILABLE if error.retry_after_s is not None else str(getattr(ERROR, self.generation))

    def dress(self, reply: Reply, call: Call) -> Reply:
        """Let the pages read that are welcome."""
        if not call.api.service.settings.cloudcoin_origins:
            return reply
        if not _is_welcome(call):
            return msgspec.structs.replace(reply, headers=(*reply.headers, _VARY))
        allow = (b"access-control-allow-origin", call.headers[b"origin"])
        preflight = (_METHODS, _HEADERS) if call.method == "OPTIONS" else ()
        return msgspec.structs.replace(reply, headers=(*reply.headers, allow, *preflight, _VARY))


def _is_welcome(call: Call) -> bool:
    origin = call.headers.get(b"origin")
    return origin is not None and origin.decode("latin-1") in call.api.service.settings.cloudcoin_origins


def _said(error: HeadwayError) -> tuple[int, str, list[str] | None]:
    """Return their code, their text and what else there is to say."""
    detail = problem.clean(error.detail)
    match error:
        case RunNotFound():
            return words.TASK_NOT_FOUND, "Task does not exist", None
        case RunPurged():
            return words.TASK_NOT_FOUND, "Task does not exist", [detail]
        case RouteNotFound() | MethodNotAllowed() | UnknownTask():
            return words.SERVICE_NOT_FOUND, "Service Not Found. Invalid URL", [detail]
        case MalformedJson():
            return words.DECODE_INPUT_JSON, "Failed to parse Input JSON", [detail]
        case BadParameter() if error.fields.get("parameter") == TASK_ID:
            return words.TASKID_MISSING, "Task ID is missing", [detail]
        case InvalidInput() | BadRequest():
            return words.VALIDATE, f"Validation error. {detail}", _each(error)
        case _:
            return words.INTERNAL, detail, None


def _each(error: HeadwayError) -> list[str] | None:
    found = [problem.clean(f"{item['pointer'].removeprefix('/input')}: {item['message']}") for item in error.errors]
    return found or None


CURRENT: Final = CloudcoinDialect("current")
FLAT: Final = CloudcoinDialect("flat")
NEWER: Final = CloudcoinDialect("newer")
