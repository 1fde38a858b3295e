"""Route: method, path, handler, scope and structs, from which dispatch, authorization, documents and metrics work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, get_args

import msgspec

from headway.kernel.authority import SCOPES, UNGRANTED, Scope
from headway.kernel.permissions import NEEDS, Effect
from headway.web.brief import BriefForm, brief_form
from headway.web.call import Call
from headway.web.dialect import NATIVE, Dialect
from headway.web.reply import Reply

__all__ = ["SCOPES", "UNCOUNTED", "Handler", "Route", "Scope", "route"]

UNCOUNTED: Final = UNGRANTED | {"worker:protocol"}
"""Scopes of routes without rate limits: a worker that may not report would lose its work."""

Handler = Callable[[Call], Awaitable[Reply | None]]


class Route(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One method and path of an API. A route without a scope raises at import."""

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
    """Response struct of the `also` statuses, if it differs from `gives`."""
    problems: tuple[str, ...] = ()
    """Codes of the errors of this route; the document adds the errors that every route can have."""
    headers: tuple[str, ...] = ()
    """Request headers that the handler reads."""
    kind: str = "application/json"
    or_scope: Scope | None = None
    """Alternative scope that admits a caller."""
    does: tuple[Effect, ...] = ()
    """Effects of every request; each needs its scope besides the route's."""
    operation: str = ""
    """Operation in the document, if the handler's name is taken by another route."""
    shows: BriefForm | None = None
    """Effect of showing the answer, and the form for callers without that effect's scope."""
    raw: bool = False
    """Whether the handler reads the body in pieces, as a file."""
    streams: bool = False
    """Whether the handler can also answer with server-sent events."""
    dialect: Dialect = NATIVE
    """Form of the errors of its surface."""
    unparsed: bool = False
    """Whether the handler decodes query and body, since those of other APIs are less strict than structs."""
    gives_way: bool = False
    """Whether requests are refused as long as starts are refused, as of lists and exports."""
    name: str = ""
    """Method and path pattern for metrics and the audit log; set by `__post_init__`."""
    logged: str = ""
    """Action in the audit log; empty: no line, or the service writes it."""

    def __post_init__(self) -> None:
        """Raise AssertionError for a route without a scope."""
        if self.scope not in get_args(Scope):
            raise AssertionError(f"{self.method} {self.path} has no scope")
        msgspec.structs.force_setattr(self, "name", f"{self.method} {self.path}")

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Scopes that every request of the route needs."""
        return tuple(dict.fromkeys((self.scope, *(NEEDS[effect].scope for effect in self.does))))


def route(
    method: str, path: str, handler: Handler, scope: Scope, summary: str, *, own: bool = False, **more: Any
) -> Route:
    """Return a route, in the form in which the lists are written. `own`: no further scope is needed to see the answer."""
    shows = None if own else brief_form(more.get("gives"), scope)
    return Route(method=method, path=path, handler=handler, scope=scope, summary=summary, shows=shows, **more)
