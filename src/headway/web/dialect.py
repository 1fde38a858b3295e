"""Dialect of a surface: the form of its errors, and the preparation of its requests.

Every route has a dialect. A request without a route is answered in the first dialect that claims it, so that a client of
another task API can read every answer: of a rate limit, a drain, a missing key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from headway.errors import HeadwayError
from headway.kernel.authority import Principal
from headway.web import problem
from headway.web.call import Call
from headway.web.reply import Reply


class Dialect:
    """Dialect of the native API; surfaces of other APIs derive theirs from it."""

    problem: type[msgspec.Struct] = problem.Problem
    """Struct of an error's body."""
    problem_kind: str = "application/problem+json"
    """Media type of an error's body."""
    links: bool = True
    """Whether a browser may follow a link from another site to a GET route."""
    body_kinds: tuple[str, ...] = ("application/json",)
    """Media types of bodies that handlers decode themselves."""
    origins: tuple[str, ...] = ()
    """Origins of web pages of other sites that may use the surface, besides those allowed everywhere."""
    keyless: Principal | None = None
    """Principal of loopback requests without a key, once keys exist; None: they need one."""
    prepare: Callable[[Call], None] | None = None
    """Method that prepares a request for authentication, such as by a key in its query; None: nothing to prepare."""

    def claims(self, call: Call) -> bool:
        """Whether a request without a route was meant for this surface."""
        del call
        return False

    def yields(self, error: HeadwayError, call: Call) -> bool:
        """Whether the dialect that claims the request answers with the error, although a route of this one matched."""
        del error, call
        return False

    def status(self, error: type[HeadwayError]) -> int:
        """Return the HTTP status that an error has on this surface."""
        return error.status

    def refuse(self, error: HeadwayError, call: Call) -> Reply:
        """Answer with an error."""
        return problem.reply(error, call.path, call.request_id.decode())


NATIVE: Final = Dialect()
