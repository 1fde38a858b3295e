"""Dialect of CloudCoin's clients: the form of errors, and the requests that the surface claims.

The documented poller in JavaScript ends on the HTTP status, the pollers in shell and Go end on `payload.status`. So an
error has both. A temporary error (a limit, a drain) says nothing about the task, and its `payload.status` ends no poll.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

import msgspec

from headway.compat.cloudcoin import words
from headway.compat.cloudcoin.settings import CloudcoinSettings
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
    Unauthenticated,
    UnknownTask,
)
from headway.kernel.authority import Principal
from headway.kernel.query import FIRST
from headway.web import problem
from headway.web.call import Call
from headway.web.dialect import Dialect
from headway.web.reply import Reply
from headway.web.routes import ROUTES

TASK_ID: Final = "task_id"
"""Parameter with the task's id; also the name of the error without one."""
ERROR: Final = Word("error", "error", "failed")
PARAMETERS_MAX: Final = 20
OTHER_API_KEY: Final = b"x-tadabase-app-key"
KEYLESS: Final = Principal(
    organisation=FIRST, key_id=None, secret=0, user_id=None, scopes=frozenset({"run:start", "run:read"}), queues=None,
    actor="cloudcoin",
)  # fmt: skip
"""Principal of loopback requests without a key, if the settings allow these once keys exist. It sees the runs of this
surface only: ids contain the time, so ids of other runs could be guessed."""
_PREFIXES: Final = ("/api/", "/get-task-status")
_NATIVE: Final = frozenset(route.path.split("/", 2)[1] for route in ROUTES)
"""First segments of the native API's paths."""
_encode: Final = msgspec.json.Encoder().encode


class CloudcoinDialect(Dialect):
    """Dialect of one generation of clients; origins and prefixes are the same for all."""

    problem_kind = "application/json"
    links = False  # a GET may be a command

    def __init__(self, generation: Generation, settings: CloudcoinSettings) -> None:
        self.generation = generation
        self.origins = settings.origins
        self.keyless = KEYLESS if settings.loopback_without_key else None  # clients of the original API send no keys
        self._strict = settings.strict
        self.problem = words.FlatFailure if generation == "flat" else words.FailedReply

    def claims(self, call: Call) -> bool:
        """Whether the path has a prefix of the surface; if strict, also any path outside the native API.

        Called after the other surfaces. The original answers every path with HTTP 200.
        """
        path = call.path
        if not path.startswith("/"):
            return False
        return path.startswith(_PREFIXES) or (self._strict and path.split("/", 2)[1] not in _NATIVE)

    def yields(self, error: HeadwayError, call: Call) -> bool:
        """Whether another API may be meant: no command has the name, or the key is in another API's header."""
        return isinstance(error, RouteNotFound) or OTHER_API_KEY in call.headers

    def prepare(self, call: Call) -> None:
        """Read the key in `?token=`."""
        if b"token=" in call.raw_query:
            _show_token(call)

    def status(self, error: type[HeadwayError]) -> int:
        """Return the HTTP status of an error; 404 for a command that starts no task, 200 for all if strict."""
        if self._strict:
            return 200
        return RouteNotFound.status if issubclass(error, UnknownTask) else error.status

    def refuse(self, error: HeadwayError, call: Call) -> Reply:
        """Return an error that ends each documented poller, or for a temporary error one after which pollers continue."""
        code, message, details = _translated(error)
        failure = words.Failure(code, message, details)
        asked, status = call.arguments.get("id", "")[:100], self._word(error)
        progress = 100 if status in ERROR else 0
        if self.generation == "flat":
            body = _encode(words.FlatFailure(status, asked, progress, code, message, details, failure))
        else:
            task = words.FailedTask(asked, status, progress, code, message, details, failure)
            body = _encode(words.FailedReply(payload=task))
        return Reply(self.status(type(error)), body, problem.headers(error))

    def _word(self, error: HeadwayError) -> str:
        return words.UNAVAILABLE if error.retry_after_s is not None else str(getattr(ERROR, self.generation))


def _show_token(call: Call) -> None:
    """Put the token into the Authorization header; raise Unauthenticated if another key is there."""
    tokens = [value for name, value in _pairs(call.raw_query) if name == "token"]
    if not tokens:
        return
    shown = f"Bearer {tokens[0]}".encode()
    if len(tokens) > 1 or call.headers.setdefault(b"authorization", shown) != shown:
        raise Unauthenticated("the request has two keys: send one")


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), errors="strict", max_num_fields=PARAMETERS_MAX)
    except ValueError:
        return []


def _translated(error: HeadwayError) -> tuple[int, str, list[str] | None]:
    """Return CloudCoin's code and message of an error, and its details."""
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
