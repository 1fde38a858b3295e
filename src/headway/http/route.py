"""A route: everything that dispatch, the gate, the documents and the metrics know about one path and method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from headway.http.call import Call
    from headway.http.reply import Reply

Scope = Literal[
    "public", "ops", "run:read", "run:start", "run:control", "task:read", "task:write", "queue:read", "queue:write",
    "worker:read", "worker:write", "worker:protocol", "schedule:read", "schedule:write", "table:read", "table:write",
    "record:read", "record:write", "token",
]  # fmt: skip
SCOPES: Final[Mapping[Scope, str]] = {
    "public": "Nothing is needed.",
    "ops": "Look at the server itself: metrics, documents.",
    "run:read": "Look at runs.",
    "run:start": "Start runs.",
    "run:control": "Change, stop, repeat and remove runs.",
    "task:read": "Look at tasks.",
    "task:write": "Switch tasks on and off.",
    "queue:read": "Look at queues.",
    "queue:write": "Pause and limit queues.",
    "worker:read": "Look at workers.",
    "worker:write": "Drain workers.",
    "worker:protocol": "Be a worker.",
    "schedule:read": "Look at schedules and their slots.",
    "schedule:write": "Make, change, pause, trigger and remove schedules.",
    "table:read": "Look at tables and their fields.",
    "table:write": "Make, change and remove tables and their fields.",
    "record:read": "Look at records, and export them.",
    "record:write": "Add, change and delete records, and import them.",
    "token": "Hold the token: the path itself is the credential.",
}
"""What a credential can be allowed, and what that means."""

Handler = Callable[["Call"], Awaitable["Reply | None"]]


class Route(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One entry of the list. A route without a scope does not import."""

    method: str
    path: str
    handler: Handler
    scope: Scope
    summary: str
    takes: type[msgspec.Struct] | None = None
    optional: bool = False
    """Whether the body may be absent."""
    gives: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    status: int = 200
    also: tuple[int, ...] = ()
    """Other statuses of success."""
    gives_then: type[msgspec.Struct] | None = None
    """What it gives with those, if that is something else."""
    problems: tuple[str, ...] = ()
    """Codes of errors that are this route's own; those that every route can have are added by the document."""
    headers: tuple[str, ...] = ()
    """Request headers that mean something here."""
    kind: str = "application/json"
    raw: bool = False
    """Whether the handler reads the body itself, piece by piece: a file."""
    streams: bool = False
    """Whether it can also answer with server-sent events."""

    def __post_init__(self) -> None:
        """Refuse what would not be safe to serve."""
        if self.scope not in get_args(Scope):
            raise AssertionError(f"{self.method} {self.path} has no scope")

    @property
    def name(self) -> str:
        """How metrics call it."""
        return f"{self.method} {self.path}"


def route(method: str, path: str, handler: Handler, scope: Scope, summary: str, **more: Any) -> Route:
    """Return the entry; the shape in which the list is written."""
    return Route(method=method, path=path, handler=handler, scope=scope, summary=summary, **more)
