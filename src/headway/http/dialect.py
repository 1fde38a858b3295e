"""The dialect of a surface: the form of its errors, and its checks before the handlers.

Every route has a dialect. A request that no route takes is answered by the first that claims it, so that a client of
another task API never meets an answer that it cannot read, whatever went wrong: a limit, a drain, a missing key.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headway.config import Settings
from headway.errors import HeadwayError
from headway.http import problem, surface
from headway.http.call import Call
from headway.http.reply import Reply
from headway.http.surface import Surface
from headway.model.access import Principal


class Dialect:
    """The native API's way of speaking; each surface of another API says in a class of its own what differs."""

    surface: Surface = surface.NATIVE
    """The API that it belongs to, which has a document of its own."""
    problem: type[msgspec.Struct] = problem.Problem
    """What the body of an error is."""
    problem_kind: str = "application/problem+json"
    links: bool = True
    """Whether a browser may follow a link from another site to a GET route."""
    body_kinds: tuple[str, ...] = ("application/json",)
    """How bodies may be encoded that its handlers read themselves."""

    def claims(self, call: Call) -> bool:
        """Whether a request that no route takes was meant for this surface."""
        del call
        return False

    def allowed_origins(self, settings: Settings) -> tuple[str, ...]:
        """Return the origins of web pages of other sites that may use the surface."""
        return settings.allow_origin

    def receive(self, call: Call) -> None:
        """Prepare a request for authentication."""

    def yields(self, error: HeadwayError, call: Call) -> bool:
        """Whether the dialect that claims the request answers with the error, although a route of this one matched."""
        del error, call
        return False

    def keyless(self, settings: Settings) -> Principal | None:
        """Return the principal of loopback requests without a key, once keys exist; None: they need one."""
        del settings
        return None

    def status(self, error: type[HeadwayError], settings: Settings) -> int:
        """Return the HTTP status that an error has on this surface."""
        del settings
        return error.status

    def refuse(self, error: HeadwayError, call: Call) -> Reply:
        """Answer with an error."""
        return problem.reply(error, call.path, call.request_id.decode())


NATIVE: Final = Dialect()
