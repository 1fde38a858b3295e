"""Route: all that dispatch, authorization, documents and metrics know about one path and method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, get_args

import msgspec

from headway.kernel.authority import SCOPES, UNGRANTED, Scope
from headway.kernel.permissions import NEEDS, Effect
from headway.web.brief import BriefForm, shown
from headway.web.call import Call
from headway.web.dialect import NATIVE, Dialect
from headway.web.reply import Reply

__all__ = ["SCOPES", "UNCOUNTED", "Handler", "Route", "Scope", "route"]

UNCOUNTED: Final = UNGRANTED | {"worker:protocol"}
"""Routes whose use no limit counts: a worker that may not report would lose what it does."""

Handler = Callable[[Call], Awaitable[Reply | None]]


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
    or_scope: Scope | None = None
    """Another scope with which it may be used as well."""
    does: tuple[Effect, ...] = ()
    """Effects that every request of the route has; each needs its scope besides the route's."""
    operation: str = ""
    """Its name in the document where that of the handler is another route's too."""
    shows: BriefForm | None = None
    """The effect of showing its answer; callers without that effect's scope are answered in brief."""
    raw: bool = False
    """Whether the handler reads the body itself, piece by piece: a file."""
    streams: bool = False
    """Whether it can also answer with server-sent events."""
    dialect: Dialect = NATIVE
    """How it speaks where its handler does not."""
    unparsed: bool = False
    """Whether the handler reads query and body itself: other APIs' are not as strict as our structs."""
    gives_way: bool = False
    """Whether it is refused as long as starts have to be: lists and exports come last."""
    name: str = ""
    """Method and path pattern, as metrics and the audit log show it; set by itself."""
    logged: str = ""
    """What the log of who did what calls it; nothing: it is not told there, or the service does so itself."""

    def __post_init__(self) -> None:
        """Refuse what would not be safe to serve."""
        if self.scope not in get_args(Scope):
            raise AssertionError(f"{self.method} {self.path} has no scope")
        msgspec.structs.force_setattr(self, "name", f"{self.method} {self.path}")

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes that every request of the route needs."""
        return tuple(dict.fromkeys((self.scope, *(NEEDS[effect].scope for effect in self.does))))


def route(
    method: str, path: str, handler: Handler, scope: Scope, summary: str, *, own: bool = False, **more: Any
) -> Route:
    """Return the entry; the shape in which the list is written. `own`: the answer needs no further scope."""
    shows = None if own else shown(more.get("gives"), scope)
    return Route(method=method, path=path, handler=handler, scope=scope, summary=summary, shows=shows, **more)
