"""Unavailable API: answers of a server whose database cannot be reached yet: alive, not ready, Retry-After."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

import msgspec

from headway.errors import StorageUnavailable
from headway.web import accesslog, problem
from headway.web.disconnect import Receive
from headway.web.reply import Send

_JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", b"application/problem+json")
_LATER: Final = (b"retry-after", b"1")
ALIVE: Final[dict[str, Any]] = {"status": "ok"}


class UnavailableApi:
    """ASGI application without a service."""

    shedder = None
    draining = False

    def __init__(self, *, access_log: bool = False) -> None:
        self.access_log = access_log

    def drain(self) -> None:
        """Note the drain; there are no streams or long polls."""
        self.draining = True

    def close(self) -> None:
        """Do nothing: there are no streams."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        if scope["type"] != "http":
            return
        match scope["path"]:
            case "/livez" | "/healthz":
                status, headers, said = 200, [_JSON], ALIVE
            case "/readyz":
                checks = {"server": "ok", "store": "the database cannot be reached yet"}
                status, headers, said = 503, [_JSON, _LATER], {"status": "not ready", "checks": checks}
            case path:
                status, headers = 503, [_PROBLEM, _LATER]
                said = problem.document(StorageUnavailable(), instance=path)
        if self.access_log:
            client = (scope.get("client") or ("",))[0]
            accesslog.note(scope["method"], scope["path"], status, 0.0, client, b"-")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(said)})
